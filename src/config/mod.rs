//! Settings: what was typed, laid over the environment, the configuration file and the defaults, once.
//!
//! Behind this door there are only typed settings; nobody else looks at a variable, a file or a flag.

mod error;
mod layers;
mod mount_options;
mod settings;

pub use error::ConfigError;
pub use layers::Sources;
pub use mount_options::{KernelOption, is_mount_option};
pub use settings::{CloudSettings, KmsSettings, MountSettings, NewVolume};
