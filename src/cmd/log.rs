//! Where the log goes: standard error, a file, or the system log. Losing a line is better than losing the mount, so
//! nothing here fails or panics once it is set up, not even when standard error is a broken pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::Failure;

const SYSTEM_LOG: &str = "/dev/log";
/// Facility "daemon" of syslog(3).
const FACILITY: u8 = 3 << 3;

/// Where the log goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// Standard error; with levels for the journal, when that listens there.
    Stderr,
    /// The end of a file.
    File(PathBuf),
    /// The system log, if there is one.
    System,
}

/// Starts logging. `KMSFS_LOG_LEVEL` says how much, as `debug` or `kmsfs::store=trace`.
///
/// # Errors
/// The file cannot be opened.
pub fn start(target: Target) -> Result<(), Failure> {
    let timed = match target {
        Target::Stderr => !is_journal(),
        Target::File(_) => true,
        Target::System => false,
    };
    let sink = Sink::open(target)?;
    let filter = EnvFilter::try_from_env("KMSFS_LOG_LEVEL").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false);
    // A second start in one process would be a mistake of ours; the first one then stays.
    let _ = match timed {
        true => log.with_writer(sink).try_init(),
        false => log.with_writer(sink).without_time().with_level(false).try_init(),
    };
    // A panic is told where the rest is told; its thread ends, and with it what it held.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

enum Sink {
    Stderr { for_journal: bool },
    File(File),
    System(Option<UnixDatagram>),
}

impl Sink {
    fn open(target: Target) -> Result<Sink, Failure> {
        Ok(match target {
            Target::Stderr => Sink::Stderr {
                for_journal: is_journal(),
            },
            Target::File(path) => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
                Sink::File(file.map_err(|error| Failure::io("opening the log", &path, &error))?)
            }
            Target::System => Sink::System(system_log().ok()),
        })
    }

    fn prefix(&self, level: Level) -> String {
        let severity = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        match self {
            Sink::Stderr { for_journal: true } => format!("<{severity}>"),
            Sink::System(_) => format!("<{}>kmsfs[{}]: ", FACILITY | severity, std::process::id()),
            Sink::Stderr { for_journal: false } | Sink::File(_) => String::new(),
        }
    }
}

/// Whether the journal listens on standard error, as systemd.exec(5) tells: the variable alone says nothing, because
/// whoever started this process may have sent its output elsewhere.
pub fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(rustix::stdio::stderr()).is_ok_and(|facts| named == format!("{}:{}", facts.st_dev, facts.st_ino))
}

fn system_log() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSTEM_LOG)?;
    // A system log that does not keep up must not hold the mount up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One line on its way.
struct Line<'a> {
    sink: &'a Sink,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            sink: self,
            text: self.prefix(Level::INFO).into_bytes(),
        }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line<'a> {
        Line {
            sink: self,
            text: self.prefix(*of.level()).into_bytes(),
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        // A log that cannot be written is nothing to fail for.
        let _ = match self.sink {
            Sink::Stderr { .. } => io::stderr().write_all(&self.text),
            Sink::File(file) => (&mut &*file).write_all(&self.text),
            Sink::System(Some(socket)) => socket.send(self.text.trim_ascii_end()).map(drop),
            Sink::System(None) => Ok(()),
        };
    }
}
