//! What goes over the socket: one line of JSON each way, of bounded length.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Status;

/// Most bytes of a line.
pub const LINE_MAX: u64 = 256 << 10;

/// What is asked of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How are you?
    Status,
    /// Write back and wipe every key.
    Lock,
    /// Ask the KMS for the keys again.
    Unlock,
    /// Make everything durable.
    Flush,
}

/// What a mount answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is done.
    Done,
    /// The answer to [`Request::Status`].
    Status(Box<Status>),
    /// It is not done.
    Refused(Refusal),
}

/// Why something was not done, in the two lines of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What, where, which.
    pub what: String,
    /// What to do.
    pub help: String,
    /// The exit code of the command that asked.
    pub code: u8,
}

/// Writes one line.
///
/// # Errors
/// The peer does not take it.
pub fn send<T: Serialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads one line.
///
/// # Errors
/// There is none, it is too long, or it is not what was expected.
pub fn receive<T: DeserializeOwned>(from: impl Read) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(from.take(LINE_MAX)).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the line has no end"));
    }
    serde_json::from_slice(&line).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_what_is_documented() {
        for (text, request) in [
            ("status", Request::Status),
            ("lock", Request::Lock),
            ("flush", Request::Flush),
        ] {
            let line = format!("{{\"op\":\"{text}\"}}\n");
            assert_eq!(receive::<Request>(line.as_bytes()).unwrap(), request);
            let mut sent = Vec::new();
            send(&mut sent, &request).unwrap();
            assert_eq!(sent, line.as_bytes());
        }
    }

    #[test]
    fn long_and_cut_lines_are_refused() {
        let long = vec![b' '; LINE_MAX as usize + 10];
        assert!(receive::<Request>(long.as_slice()).is_err());
        assert!(receive::<Request>(&b"{\"op\":\"lock\"}"[..]).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_parsed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = receive::<Request>(bytes.as_slice());
            let _ = receive::<Answer>(bytes.as_slice());
        }
    }
}
