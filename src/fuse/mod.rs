//! Thin adapters from the kernel's transport to `fs`; the only room that knows `fuser`.
