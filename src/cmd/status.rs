//! `kmsfs status`: one mount in full, or all in a table; as JSON always the same fields.

use std::path::Path;
use std::time::Duration;

use super::failure::reason;
use super::lock::unanswered;
use super::mounts::Mounts;
use super::umount::mounted;
use super::{Failure, out, preflight};
use crate::cli::StatusArgs;
use crate::config::Sources;
use crate::control::{Answer, ClientError, JournalStatus, Registry, Request, RevocationStatus, State, Status, ask};
use crate::store::Recovery;

/// Does what `kmsfs status` was told. With a mount point, `--json` prints one object, otherwise a list.
pub fn run(args: &StatusArgs, _sources: &Sources) -> Result<(), Failure> {
    let registry = preflight::registry();
    match &args.mountpoint {
        Some(path) => one(&registry, &mounted(path)?, args.json),
        None => all(&registry, args.json),
    }
}

fn one(registry: &Registry, mountpoint: &Path, json: bool) -> Result<(), Failure> {
    let status = ask_status(registry, mountpoint).map_err(|error| unanswered(mountpoint, &error))?;
    match json {
        true => out::json(&status),
        false => print(&status),
    }
}

fn ask_status(registry: &Registry, mountpoint: &Path) -> Result<Status, ClientError> {
    match ask(registry, mountpoint, Request::Status)? {
        Answer::Status(status) => Ok(*status),
        Answer::Done | Answer::Refused(_) => Err(ClientError::NoAnswer(std::io::Error::other(
            "it answers another question",
        ))),
    }
}

/// Every mount of this user; those of others, and dead ones, only where people look.
fn all(registry: &Registry, json: bool) -> Result<(), Failure> {
    let known = registry.list();
    let answers = known
        .iter()
        .map(|entry| (entry, ask_status(registry, &entry.mountpoint)));
    let (mut found, mut rows) = (Vec::new(), Vec::new());
    for (entry, answer) in answers {
        let state = match &answer {
            Ok(status) => word(status.state).to_owned(),
            Err(error) => error.to_string(),
        };
        let place = |path: &Path| path.display().to_string();
        rows.push([
            place(&entry.mountpoint),
            place(&entry.backing),
            state,
            entry.pid.to_string(),
        ]);
        found.extend(answer);
    }
    if json {
        return out::json(&found);
    }
    for mount in Mounts::read()?.ours() {
        if known.iter().all(|entry| entry.mountpoint != mount.point) {
            let unknown = "dead, or of another user".to_owned();
            rows.push([mount.point.display().to_string(), "?".into(), unknown, "?".into()]);
        }
    }
    match rows.is_empty() {
        true => out::line("no volume is mounted"),
        false => out::table(["MOUNTPOINT", "VOLUME", "STATE", "PID"], &rows),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Unlocked => "unlocked",
        State::Locked => "locked",
    }
}

fn print(status: &Status) -> Result<(), Failure> {
    let Status {
        kms,
        keys,
        journal,
        revocation,
        ..
    } = status;
    let access = if status.read_only {
        "read-only"
    } else {
        "read and write"
    };
    let state = match &status.reason {
        Some(reason) => format!("{} ({reason})", word(status.state)),
        None => word(status.state).to_owned(),
    };
    let contact = kms.last_contact.clone().unwrap_or_else(|| "never".into());
    let rows = [
        ("mountpoint", status.mountpoint.clone()),
        ("backing", format!("{} ({access})", status.backing)),
        ("volume", status.volume.clone()),
        ("state", state),
        (
            "daemon",
            format!(
                "process {}, kmsfs {}, since {}",
                status.pid, status.version, status.since
            ),
        ),
        ("kms", kms.name.clone()),
        ("master key", kms.master_key.clone()),
        (
            "kms requests",
            format!("{}, {} failed, last answer {contact}", kms.calls, kms.failures),
        ),
        ("revocation", revocation_text(revocation)),
        (
            "data keys",
            format!(
                "{} of {} in memory for {} s, {} of open files, {} ahead",
                keys.cached, keys.capacity, keys.ttl_seconds, keys.open_files, keys.pool
            ),
        ),
        (
            "key look-ups",
            format!("{} found, {} asked for", keys.hits, keys.misses),
        ),
        ("journal", journal_text(journal)),
        ("recovery", recovery_text(journal)),
    ];
    rows.iter()
        .try_for_each(|(name, value)| out::line(&format!("{name:13} {value}")))
}

fn revocation_text(revocation: &RevocationStatus) -> String {
    let grace = match revocation.grace_seconds {
        Some(seconds) => format!("{seconds} s"),
        None => "no end".to_owned(),
    };
    let trouble = revocation.trouble.as_deref().map(|why| format!("; {why}"));
    format!(
        "the KMS gave the volume key at {}, is asked again at {} and every {} s; grace {grace}{}",
        revocation.last_contact,
        revocation.next_check,
        revocation.check_seconds,
        trouble.unwrap_or_default()
    )
}

fn journal_text(journal: &JournalStatus) -> String {
    if journal.capacity == 0 {
        return match journal.mode.as_str() {
            "in-place" => "none: overwritten in place, so a crash may hurt what it interrupts".into(),
            _ => "none in use".into(),
        };
    }
    let failed = match journal.failed {
        Some(errno) => format!(
            ", FAILED ({}): no more writes until it is mounted anew",
            reason(&std::io::Error::from_raw_os_error(errno))
        ),
        None => String::new(),
    };
    format!(
        "{} of {} bytes in use, {} records, {} checkpoints{failed}",
        journal.bytes, journal.capacity, journal.records, journal.checkpoints
    )
}

fn recovery_text(journal: &JournalStatus) -> String {
    if journal.recovered == 0 {
        return "nothing to recover when it was mounted".into();
    }
    let recovery = Recovery {
        records: journal.recovered,
        bytes: journal.recovered_bytes,
        files: journal.recovered_files,
        missing: journal.recovered_missing,
        duration: Duration::try_from_secs_f64(journal.recovery_seconds).unwrap_or_default(),
    };
    format!("when it was mounted: {recovery}")
}
