//! Bytes and types of everything that lies in the backing: layouts, parsers, geometry. Pure: no I/O, no keys.
