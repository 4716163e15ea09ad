//! What is mounted where, as the kernel lists it for this process.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Failure;

/// The type of kmsfs's mounts where fusermount3 made them, and the source of all.
const TYPE: &str = "fuse.kmsfs";
const PLAIN_TYPE: &str = "fuse";
const SOURCE: &str = "kmsfs";

const LIST: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// Its type, as `ext4`.
    pub kind: String,
    source: Vec<u8>,
}

/// Every mount; one that lies over another comes after it.
#[derive(Debug)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads the kernel's list.
    ///
    /// # Errors
    /// There is no /proc.
    pub fn read() -> Result<Mounts, Failure> {
        match std::fs::read(LIST) {
            Ok(list) => Ok(Mounts::parse(&list)),
            Err(error) => Err(Failure::io("reading", Path::new(LIST), &error)),
        }
    }

    fn parse(list: &[u8]) -> Mounts {
        Mounts(list.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
    }

    /// The mount whose point is `path`: the one on top, if several are.
    pub fn at(&self, path: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.point == path)
    }

    /// The mount that `path` lies in.
    pub fn around(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|ancestor| self.at(ancestor))
    }

    /// kmsfs's mounts, each once.
    pub fn ours(&self) -> Vec<&Mount> {
        self.0.iter().filter(|mount| mount.is_ours()).collect()
    }
}

impl Mount {
    /// Whether it is one of kmsfs's.
    pub fn is_ours(&self) -> bool {
        self.kind == TYPE || (self.kind == PLAIN_TYPE && self.source == SOURCE.as_bytes())
    }
}

/// `ID PARENT DEV ROOT POINT OPTIONS [TAG…] - TYPE SOURCE OPTIONS`, see proc(5).
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let point = unescape(words.nth(4)?);
    let mut words = words.skip_while(|word| *word != b"-");
    let kind = String::from_utf8_lossy(words.nth(1)?).into_owned();
    let source = words.next()?.to_vec();
    Some(Mount {
        point: point.into(),
        kind,
        source,
    })
}

/// Blanks, tabs, line ends and backslashes stand there as `\040` and so on.
fn unescape(word: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            digits.iter().try_fold(0u8, |value, digit| match digit {
                b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
                _ => None,
            })
        });
        plain.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(plain)
}

/// `path` without symbolic links. Also works for the point of a mount whose daemon has died, which cannot be looked
/// at itself any more.
///
/// # Errors
/// It is not there, or too long.
pub fn canonical(path: &Path) -> Result<PathBuf, Failure> {
    let fail = |error| Failure::io("looking at", &shortened(path), &error);
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            Ok(parent.canonicalize().map_err(fail)?.join(name))
        }
        (found, ..) => found.map_err(fail),
    }
}

/// A path that fits a message.
fn shortened(path: &Path) -> PathBuf {
    const LONG: usize = 300;
    match path.as_os_str().as_bytes() {
        bytes if bytes.len() > LONG => PathBuf::from(OsString::from_vec(bytes[..LONG].to_vec())).join("…"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
        30 22 0:40 / /mnt/a\\040b rw master:1 shared:2 - tmpfs tmpfs rw\n\
        31 30 0:41 / /mnt/a\\040b rw - fuse.kmsfs kmsfs rw,user_id=0\n\
        32 22 0:42 / /mnt/c rw - fuse kmsfs rw,user_id=0\n\
        33 22 0:43 / /mnt/d rw - fuse sshfs rw,user_id=0\n\
        broken line\n";

    #[test]
    fn the_mount_on_top_counts() {
        let mounts = Mounts::parse(LIST);
        assert!(mounts.at(Path::new("/mnt/a b")).unwrap().is_ours());
        assert_eq!(mounts.around(Path::new("/mnt/a b/c/d")).unwrap().kind, TYPE);
        assert_eq!(mounts.around(Path::new("/mnt/a bc")).unwrap().kind, "ext4");
        assert_eq!(mounts.at(Path::new("/mnt")), None);
        assert!(mounts.at(Path::new("/mnt/c")).unwrap().is_ours());
        assert_eq!(mounts.ours().len(), 2);
    }

    #[test]
    fn odd_escapes_stay() {
        assert_eq!(unescape(b"a\\0"), "a\\0");
        assert_eq!(unescape(b"\\134x\\999"), "\\x\\999");
    }
}
