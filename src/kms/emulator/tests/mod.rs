//! The emulator without a network: requests as the reference has them, what is refused and how, bytes that are none.

mod actions;
mod gate;
mod hostile;
mod scene;
mod vectors;
