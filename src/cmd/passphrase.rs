//! Reading a passphrase: the first line of a file, of an inherited descriptor, or of a systemd credential.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Exit, Failure};
use crate::cli::PassphraseSource;
use crate::crypto::SecretBytes;

const LEN_MAX: u64 = 4096;

/// Reads the passphrase that `source` names; `variable` looks a name up in the environment.
///
/// # Errors
/// It cannot be read, or is empty or too long.
pub fn read(source: &PassphraseSource, variable: impl Fn(&str) -> Option<OsString>) -> Result<SecretBytes, Failure> {
    match source {
        PassphraseSource::File(path) => read_path(path),
        PassphraseSource::Descriptor(0) => first_line(std::io::stdin(), "standard input"),
        // The kernel's own name for an open descriptor; it also works for a pipe.
        PassphraseSource::Descriptor(number) => read_path(Path::new(&format!("/proc/self/fd/{number}"))),
        PassphraseSource::Credential(name) => match variable("CREDENTIALS_DIRECTORY") {
            Some(dir) => read_path(&PathBuf::from(dir).join(name)),
            None => Err(Failure::new(
                Exit::Passphrase,
                format!("there is no systemd credential {name:?}: CREDENTIALS_DIRECTORY is not set"),
                "add LoadCredential= or SetCredentialEncrypted= to the unit",
            )),
        },
    }
}

fn read_path(path: &Path) -> Result<SecretBytes, Failure> {
    match File::open(path) {
        Ok(file) => first_line(file, &path.display().to_string()),
        Err(error) => {
            let what = format!(
                "the passphrase cannot be read from {}: {}",
                path.display(),
                super::failure::reason(&error)
            );
            Err(Failure::new(
                Exit::Passphrase,
                what,
                "name a file with --passphrase-file that this user can read",
            ))
        }
    }
}

fn first_line(from: impl Read, place: &str) -> Result<SecretBytes, Failure> {
    let wrong = |why: &str| {
        let what = format!("the passphrase in {place} {why}");
        Failure::new(
            Exit::Passphrase,
            what,
            "the passphrase is the first line of the file, up to 4096 bytes",
        )
    };
    // As long as it can become, so that it does not move and leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN_MAX as usize + 1));
    from.take(LEN_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    match line.len() as u64 {
        0 => Err(wrong("is empty")),
        LEN_MAX.. => Err(wrong("is too long")),
        _ => Ok(SecretBytes::new(line.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        let read = |text: &[u8]| first_line(text, "test").map(|secret| secret.expose().to_vec());
        assert_eq!(read(b"secret\nmore\n").unwrap(), b"secret");
        assert_eq!(read(b"secret\r\n").unwrap(), b"secret");
        assert_eq!(read(b" secret ").unwrap(), b" secret ");
        for bad in [&b""[..], b"\n", b"\r\nx", &[b'x'; 5000]] {
            assert_eq!(read(bad).unwrap_err().exit(), Exit::Passphrase);
        }
    }

    #[test]
    fn credentials_come_from_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("store"), "secret").unwrap();
        let source = PassphraseSource::Credential("store".into());
        let found = read(&source, |_| Some(dir.path().into()));
        assert_eq!(found.unwrap().expose(), b"secret");
        assert_eq!(read(&source, |_| None).unwrap_err().exit(), Exit::Passphrase);
    }
}
