//! Request lines that are longer than a library lets them be. Parameters travel in the URL, and with an encryption
//! context that is not ASCII they come to 90 KB (reference, §9.1), while a URI in `hyper` ends at 64 KB. So the
//! target of such a request travels on as a header.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The header that carries a long target. It may as well come from a client: it says no more than a query does.
pub(super) const TARGET: &str = "x-kmsfs-target";

/// Targets from this length on become headers.
const LONG: usize = 60_000;
/// Most bytes of a request line; what is longer goes on as it is, and is refused.
const LINE_MAX: usize = 192 << 10;

/// A connection whose long request lines are rewritten on the way in.
pub(super) struct LongLines<S> {
    inner: S,
    at: At,
    /// Bytes that were read but not yet taken: a line that is not whole, or the rest of what is handed on.
    held: Vec<u8>,
}

/// Where in a request the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In its first line.
    Line,
    /// Behind that. What follows an answer is the next request.
    Rest,
}

impl<S> LongLines<S> {
    pub(super) fn new(inner: S) -> LongLines<S> {
        LongLines {
            inner,
            at: At::Line,
            held: Vec::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LongLines<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.at == At::Line {
            let mut space = [0; 8192];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
            self.held.extend_from_slice(read.filled());
            let line = read.filled().contains(&b'\n');
            if line || read.filled().is_empty() || self.held.len() > LINE_MAX {
                self.at = At::Rest;
                if let Some(other) = rewritten(&self.held) {
                    self.held = other;
                }
            }
        }
        if self.held.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, out);
        }
        let len = self.held.len().min(out.remaining());
        out.put_slice(&self.held[..len]);
        self.held.drain(..len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LongLines<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Requests that were sent without waiting for answers are here already, and stay as they are.
        if self.held.is_empty() {
            self.at = At::Line;
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The same bytes with a long target in a header; none where nothing is to be changed.
fn rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?.trim_end_matches('\r');
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if target.len() < LONG || !target.starts_with("/?") || words.next().is_some() {
        return None;
    }
    let head = format!("{method} / {version}\r\n{TARGET}: {target}");
    Some([head.as_bytes(), b"\r\n", &bytes[end + 1..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes out when `parts` come in one after the other, with an answer after each of them.
    fn through(parts: &[&str]) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let mut server = LongLines::new(server);
            let mut all = Vec::new();
            for part in parts {
                client.write_all(part.as_bytes()).await.unwrap();
                if part == parts.last().unwrap() {
                    client.shutdown().await.unwrap();
                }
                let mut space = vec![0; 1 << 20];
                let len = server.read(&mut space).await.unwrap();
                all.extend_from_slice(&space[..len]);
                server.write_all(b"answer").await.unwrap();
            }
            server.read_to_end(&mut all).await.unwrap();
            String::from_utf8(all).unwrap()
        })
    }

    #[test]
    fn long_targets_become_headers() {
        let target = format!("/?a={}", "b".repeat(LONG));
        let long = format!("POST {target} HTTP/1.1\r\nhost: h\r\n\r\nbody");
        let expected = format!("POST / HTTP/1.1\r\n{TARGET}: {target}\r\nhost: h\r\n\r\nbody");
        assert_eq!(through(&[&long]), expected);
        let short = "GET /?a HTTP/1.1\r\n\r\n";
        let last = "GET /?b HTTP/1.1\r\n\r\n";
        assert_eq!(through(&[short, &long, last]), format!("{short}{expected}{last}"));
    }

    #[test]
    fn all_else_stays() {
        let long = "b".repeat(LONG);
        for text in [
            String::new(),
            "\n".to_owned(),
            long.clone(),
            format!("{long}\r\n\r\n"),
            format!("GET {long} HTTP/1.1\r\n\r\n"),
            format!("GET /?{long} {long}\r\n\r\n").replace("b ", "b b "),
            format!("GET /?{} HTTP/1.1\r\n\r\n", "b".repeat(LINE_MAX)),
        ] {
            assert!(through(&[&text]) == text, "{}", text.len());
        }
    }
}
