//! What `kmsfs status --json` prints of a mount. The names are a contract: fields are added, never renamed.
//! Times are RFC 3339 texts, sizes are bytes, durations seconds. There are no secrets and no plain names of files.

use serde::{Deserialize, Serialize};

/// A running mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where the volume is mounted.
    pub mountpoint: String,
    /// The directory that holds what is stored.
    pub backing: String,
    /// The volume's identity.
    pub volume: String,
    /// The daemon's process id.
    pub pid: u32,
    /// The daemon's version.
    pub version: String,
    /// When it was mounted.
    pub since: String,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether data can be read.
    pub state: State,
    /// Why it is locked, while it is.
    pub reason: Option<String>,
    /// The key management service.
    pub kms: KmsStatus,
    /// How the master key is watched.
    #[serde(default)]
    pub revocation: RevocationStatus,
    /// Files and directories that the kernel has not forgotten, and the directories above them.
    #[serde(default)]
    pub inodes: u64,
    /// Data keys in memory.
    pub keys: KeyStatus,
    /// The journal.
    pub journal: JournalStatus,
}

/// Whether data can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It can.
    #[default]
    Unlocked,
    /// No key is in memory: nothing can be read until it is unlocked.
    Locked,
}

/// The key management service of a mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KmsStatus {
    /// Which one, in a few words.
    pub name: String,
    /// The id of the master key.
    pub master_key: String,
    /// When it last answered.
    pub last_contact: Option<String>,
    /// Requests made since the mount.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// How long all of them together took.
    #[serde(default)]
    pub seconds: f64,
}

/// How the master key is watched, so that the volume goes dark when it is withdrawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RevocationStatus {
    /// From one check to the next.
    pub check_seconds: f64,
    /// How long the volume is served without contact; none: without end.
    pub grace_seconds: Option<f64>,
    /// When the KMS last gave the volume key.
    pub last_contact: String,
    /// When it is asked for it next.
    pub next_check: String,
    /// What went wrong since the last contact.
    pub trouble: Option<String>,
}

/// Data keys in memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// How many of closed files there are.
    pub cached: u64,
    /// Files that are open, and hold theirs.
    #[serde(default)]
    pub open_files: u64,
    /// How many there may be.
    pub capacity: u64,
    /// How long one stays after the last contact.
    pub ttl_seconds: u64,
    /// Opens that found their key.
    pub hits: u64,
    /// Opens that had to ask the KMS.
    pub misses: u64,
    /// New keys, fetched ahead.
    pub pool: u64,
    /// Whether all of them are in memory that cannot be swapped out.
    pub memory_locked: bool,
}

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// `journal`, or `in-place` for a volume without one.
    pub mode: String,
    /// Bytes that wait to be copied to their places.
    pub bytes: u64,
    /// Most bytes that may.
    pub capacity: u64,
    /// Records written since the mount.
    pub records: u64,
    /// Checkpoints since the mount.
    pub checkpoints: u64,
    /// Records that recovery replayed when it was mounted.
    pub recovered: u64,
    /// Bytes of those records.
    #[serde(default)]
    pub recovered_bytes: u64,
    /// Files that recovery brought up to date.
    #[serde(default)]
    pub recovered_files: u64,
    /// Files that the journal knew and that are no more.
    #[serde(default)]
    pub recovered_missing: u64,
    /// How long recovery took.
    #[serde(default)]
    pub recovery_seconds: f64,
    /// The errno with which the journal failed: the mount takes no more writes.
    #[serde(default)]
    pub failed: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable() {
        let json = serde_json::to_value(Status::default()).unwrap();
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected = [
            "backing",
            "inodes",
            "journal",
            "keys",
            "kms",
            "mountpoint",
            "pid",
            "read_only",
            "reason",
            "revocation",
            "since",
            "state",
            "version",
            "volume",
        ];
        assert_eq!(names, expected);
        assert_eq!(json["state"], "unlocked");
    }

    #[test]
    fn readme_names_every_field_and_no_other() {
        let json = serde_json::to_value(Status::default()).unwrap();
        let readme = std::fs::read_to_string("README.md").unwrap();
        let (_, section) = readme.split_once("| field | |\n|---|---|\n").unwrap();
        let (table, _) = section.split_once("\n\n").unwrap();
        let words = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let (mut top, states) = (Vec::new(), ["unlocked", "locked"]);
        for row in table.lines() {
            let mut cells = row.split('|').skip(1);
            let (names, inner) = (words(cells.next().unwrap()), words(cells.next().unwrap()));
            if let Some(fields) = json[&names[0]].as_object() {
                let fields: std::collections::BTreeSet<_> = fields.keys().cloned().collect();
                assert_eq!(
                    inner.into_iter().collect::<std::collections::BTreeSet<_>>(),
                    fields,
                    "{names:?}"
                );
            } else {
                assert!(inner.iter().all(|word| states.contains(&word.as_str())), "{inner:?}");
            }
            top.extend(names);
        }
        top.sort();
        assert_eq!(top, json.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
    }
}
