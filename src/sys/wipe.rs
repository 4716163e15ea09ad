//! Wiping what lies in somebody else's buffer.

/// Bytes of a request from the kernel: overwritten when this is dropped, after their last use.
///
/// The library that receives requests keeps its buffers, and the next request seldom covers all of the last one. So names
/// and written data would stay in memory for as long as the mount is there, also while it is locked.
#[derive(Debug)]
pub struct Wiped<'a>(&'a [u8]);

impl<'a> Wiped<'a> {
    /// Wipes `bytes` at the end of the scope. They must lie in a buffer of their receiver, and nobody may look at
    /// them after.
    #[must_use]
    pub fn after(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Drop for Wiped<'_> {
    fn drop(&mut self) {
        let address = self.0.as_ptr().expose_provenance();
        // SAFETY: the bytes are the receiver's own, in memory that is written to by the kernel with every request;
        // until it writes there again, nobody reads them.
        unsafe { libc::explicit_bzero(std::ptr::with_exposed_provenance_mut(address), self.0.len()) }
    }
}

/// Overwrites what the calls that have just returned left on this thread's stack, below the caller's own frame. For code of
/// others that copies a key into a variable of its own and does not wipe it.
#[inline(never)]
pub fn stack_below() {
    let mut below = [0u8; 4096];
    zeroize::Zeroize::zeroize(&mut below[..]);
    std::hint::black_box(&below);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_gone_at_the_end_of_the_scope() {
        let mut buffer = vec![0u8; 64];
        // As the kernel does: nobody else has a reference at that time.
        buffer[8..14].copy_from_slice(b"secret");
        let (address, len) = (buffer.as_mut_ptr().expose_provenance(), buffer.len());
        // SAFETY: the buffer lives to the end of the test, and is used through this address only.
        let request = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), len) };
        drop(Wiped::after(&request[8..14]));
        assert_eq!(buffer, [0; 64]);
    }
}
