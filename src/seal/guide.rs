//! The envelope file of the KMS best-practice guide, chapter 3: four lines of text, AES-256-EAX.
//!
//! ```text
//! CiphertextBlob of GenerateDataKey(NumberOfBytes=32), without an encryption context
//! base64( nonce 16 )
//! base64( ciphertext )
//! base64( tag 16 )
//! ```

use std::io::{self, BufRead, Read, Write};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::{SealError, Watch};
use crate::crypto::Key;
use crate::crypto::envelope::{EnvelopeOpener, EnvelopeSealer, NONCE_LEN, TAG_LEN};
use crate::format::ids::random_bytes;
use crate::kms::{EncryptionContext, Kms, KmsDirect, blob};

/// Plain bytes that are sealed at a time: whole groups of three, so that their base64 needs no padding.
const BATCH: usize = 3 << 16;
/// Most bytes of a line that is not the ciphertext.
const SHORT_LINE_MAX: u64 = 64 << 10;

/// Seals everything that `plain` gives, under a data key that `kms` makes of `master_key`.
///
/// # Errors
/// [`SealError`]; then what was written is of no use.
pub fn seal_guide(
    plain: &mut dyn Read,
    sealed: &mut dyn Write,
    kms: &dyn Kms,
    master_key: &str,
    watch: Watch<'_>,
) -> Result<(), SealError> {
    let made = kms.generate_data_key(master_key, &EncryptionContext::none())?;
    let nonce: [u8; NONCE_LEN] = random_bytes();
    let mut sealer = EnvelopeSealer::new(&made.key, &nonce);
    let mut put = |text: &str| sealed.write_all(text.as_bytes()).map_err(SealError::Output);
    put(&format!(
        "{}\n{}\n",
        BASE64.encode(&made.wrapped.blob),
        BASE64.encode(&nonce)
    ))?;
    let (mut bytes, mut text) = (vec![0; BATCH], String::new());
    loop {
        let have = fill(plain, &mut bytes).map_err(SealError::input("reading it"))?;
        sealer.seal(&mut bytes[..have]);
        text.clear();
        BASE64.encode_append(&bytes[..have], &mut text);
        put(&text)?;
        if watch(have as u64).is_break() {
            return Err(SealError::Interrupted);
        }
        if have < BATCH {
            break;
        }
    }
    put(&format!("\n{}\n", BASE64.encode(&sealer.finish())))
}

/// Unseals the envelope file `sealed`. Only when this returns may anybody believe what was written to `plain`: the tag
/// comes last.
///
/// # Errors
/// [`SealError`]; then what was written must be thrown away.
pub fn unseal_guide(
    sealed: &mut dyn BufRead,
    plain: &mut dyn Write,
    kms: &dyn KmsDirect,
    watch: Watch<'_>,
) -> Result<(), SealError> {
    let wrapped = short_line(sealed, 1)?;
    let nonce: [u8; NONCE_LEN] = exactly(&short_line(sealed, 2)?, 2, "nonce")?;
    if BASE64.decode(wrapped.as_bytes()).is_err() || wrapped.is_empty() {
        return Err(wrong(1, "it is not a wrapped data key in base64"));
    }
    let key = data_key(kms, &wrapped)?;
    let mut opener = EnvelopeOpener::new(&key, &nonce);
    open_body(sealed, plain, &mut opener, watch)?;
    let tag: [u8; TAG_LEN] = exactly(&short_line(sealed, 4)?, 4, "tag")?;
    let rest = sealed.fill_buf().map_err(SealError::input("reading it"))?;
    if rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(wrong(5, "there are no more than four lines in such a file"));
    }
    opener.finish(&tag).map_err(|_| SealError::GuideTag)
}

fn data_key(kms: &dyn KmsDirect, wrapped: &str) -> Result<Key, SealError> {
    let text = kms.decrypt_text(wrapped, &EncryptionContext::none())?;
    Ok(blob::text_to_key(text.data.as_bytes())?)
}

/// Line 3, in pieces.
fn open_body(
    sealed: &mut dyn BufRead,
    plain: &mut dyn Write,
    opener: &mut EnvelopeOpener,
    watch: Watch<'_>,
) -> Result<(), SealError> {
    let mut text = Vec::with_capacity(BATCH);
    let mut passed = 0;
    loop {
        let there = sealed.fill_buf().map_err(SealError::input("reading it"))?;
        if there.is_empty() {
            return Err(wrong(3, "the file ends within the ciphertext"));
        }
        let room = BATCH - text.len();
        let piece = &there[..there.len().min(room)];
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(piece.len());
        text.extend_from_slice(&piece[..taken]);
        sealed.consume(taken + usize::from(end.is_some()));
        if end.is_some() && text.last() == Some(&b'\r') {
            text.pop();
        }
        // Whole groups of four, which base64 is made of; at the end whatever is left, which must be one.
        let ready = match end {
            Some(_) => text.len(),
            None if text.len() < BATCH => continue,
            None => text.len() / 4 * 4,
        };
        let decoded = BASE64.decode(&text[..ready]);
        let decoded = decoded.map_err(|_| {
            wrong(
                3,
                &format!("it is not base64 within {ready} bytes from offset {passed} of the line"),
            )
        });
        let mut bytes = Zeroizing::new(decoded?);
        opener.open_unverified(&mut bytes);
        plain.write_all(&bytes).map_err(SealError::Output)?;
        text.drain(..ready);
        passed += ready as u64;
        if watch(ready as u64).is_break() {
            return Err(SealError::Interrupted);
        }
        if end.is_some() {
            return Ok(());
        }
    }
}

/// A line of bounded length, without white space around it.
fn short_line(sealed: &mut dyn BufRead, line: u8) -> Result<String, SealError> {
    let mut bytes = Vec::new();
    let read = sealed.take(SHORT_LINE_MAX).read_until(b'\n', &mut bytes);
    read.map_err(SealError::input("reading it"))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong(line, "it is not text"))?;
    match text.trim() {
        "" => Err(wrong(line, "it is missing")),
        _ if text.len() as u64 == SHORT_LINE_MAX => Err(wrong(line, "it is too long")),
        text => Ok(text.to_owned()),
    }
}

fn exactly<const N: usize>(text: &str, line: u8, what: &str) -> Result<[u8; N], SealError> {
    let bytes = BASE64.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
    bytes.ok_or_else(|| wrong(line, &format!("it is not a {what} of {N} bytes in base64")))
}

fn wrong(line: u8, why: &str) -> SealError {
    SealError::Guide {
        line,
        why: why.to_owned(),
    }
}

/// Reads until `bytes` is full or there is no more.
fn fill(plain: &mut dyn Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < bytes.len() {
        match plain.read(&mut bytes[have..]) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
