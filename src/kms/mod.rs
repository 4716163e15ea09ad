//! Key management services: the trait, errors by remedy, and the embedded key store.
