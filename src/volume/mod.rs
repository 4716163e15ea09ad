//! A volume: descriptor, keyring, backing root and the lock that keeps it to one mount.
