//! Data keys in use: cache, pool of ready keys, keyring that locks and unlocks.
