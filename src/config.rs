//! Settings from flags, environment and configuration file, in that order of precedence.
