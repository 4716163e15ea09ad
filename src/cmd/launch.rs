//! A mount in the background. The command starts the program once more as a daemon, hands it the settings over a
//! socket, and waits for one line: that the mount answers, or why not.
//!
//! Starting anew, instead of forking, leaves no half of a threaded process and no key in two memories.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::log::{self, Target};
use super::{Exit, Failure, daemon};
use crate::config::MountSettings;
use crate::control::{receive, send};

/// What a daemon says of its start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The mount answers; lines for the user.
    Ready(Vec<String>),
    /// It does not.
    Failed(Failure),
}

/// Starts a daemon for the mount; returns what the user should read.
///
/// # Errors
/// The daemon's own failure, or that there was no daemon.
pub fn start(settings: &MountSettings) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("the daemon cannot be started: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = Command::new(program());
    // The mount point as one argument, for those who look for the daemon in the list of processes. Standard input
    // stays: a passphrase may come from it.
    command
        .arg("mount")
        .arg(&settings.backing)
        .arg(&settings.mountpoint)
        .arg("--daemon");
    command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let child = command.spawn().map_err(failed)?;
    // The command holds the daemon's end of the socket, and would wait for ever for it to be closed.
    drop(command);
    let report = send(&ours, settings).and_then(|()| receive(&ours));
    match report {
        Ok(Report::Ready(notes)) => Ok(notes),
        Ok(Report::Failed(failure)) => Err(failure),
        Err(_) => Err(died(child)),
    }
}

fn program() -> PathBuf {
    let this = std::env::current_exe().ok().filter(|path| path.exists());
    // The file may have been replaced by an update since this process began.
    this.unwrap_or_else(|| "/proc/self/exe".into())
}

fn died(mut child: Child) -> Failure {
    let how = match child.wait() {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        },
        Err(error) => error.to_string(),
    };
    let what = format!("the daemon ended before the mount answered ({how})");
    Failure::new(Exit::Internal, what, "mount with --foreground to see its log")
}

/// Is the daemon that [`start`] started: reports over standard output, and then lives on without a terminal.
///
/// # Errors
/// What was reported; nobody sees it here.
pub fn be_daemon() -> Result<(), Failure> {
    let socket = std::io::stdout().as_fd().try_clone_to_owned();
    let socket = socket.map(UnixStream::from).map_err(|error| by_hand(&error))?;
    let settings: MountSettings = receive(&socket).map_err(|error| by_hand(&error))?;
    let served = detach(&settings).and_then(|()| {
        daemon::serve(&settings, |notes| {
            // The command may have been interrupted; the mount is there nevertheless.
            let _ = send(&socket, &Report::Ready(notes));
            let _ = socket.shutdown(std::net::Shutdown::Both);
            leave_terminal()
        })
    });
    if let Err(failure) = &served {
        tracing::error!("{}", failure.what);
        let _ = send(&socket, &Report::Failed(failure.clone()));
    }
    served
}

fn by_hand(error: &std::io::Error) -> Failure {
    let what = format!("--daemon is not for people: {error}");
    Failure::new(
        Exit::Usage,
        what,
        "leave --daemon out: kmsfs mount goes into the background by itself",
    )
}

/// A session of its own, so that neither ^C nor a closed terminal ends the mount; and no directory held busy.
fn detach(settings: &MountSettings) -> Result<(), Failure> {
    // It fails only for a leader of a group, which a child is not.
    let _ = rustix::process::setsid();
    let target = match &settings.log {
        Some(path) => Target::File(path.clone()),
        None => Target::System,
    };
    log::start(target)?;
    std::env::set_current_dir("/").map_err(|error| Failure::internal(format!("changing to /: {error}")))
}

/// Lets go of standard input (a passphrase has been read by now) and of standard output.
fn leave_terminal() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("leaving the terminal: {error}"));
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(|errno| failed(errno.into()))?;
    rustix::stdio::dup2_stdout(&null).map_err(|errno| failed(errno.into()))
}
