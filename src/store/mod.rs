//! Sealed bytes made durable: chunk files, the redo journal, commit, checkpoint, recovery. Knows no key and no plain text.
