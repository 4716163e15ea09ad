//! What a mount tells Prometheus: one table, from the same status that `kmsfs status --json` prints.

use std::fmt::Write;

use super::status::{State, Status};

/// What a number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the mount lives.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One line of the table.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it means over time.
    pub kind: Kind,
    /// What it says, in one line.
    pub help: &'static str,
    value: fn(&Status) -> f64,
}

const fn metric(name: &'static str, kind: Kind, help: &'static str, value: fn(&Status) -> f64) -> Metric {
    Metric {
        name,
        kind,
        help,
        value,
    }
}

// Counters beyond 2^53 would lose their last digits; none of these comes near.
#[allow(clippy::cast_precision_loss)]
const fn number(count: u64) -> f64 {
    count as f64
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// A time as seconds since 1970; 0 for none.
fn unix(time: &str) -> f64 {
    time.parse::<jiff::Timestamp>()
        .map_or(0.0, |time| number(u64::try_from(time.as_second()).unwrap_or(0)))
}

/// Every metric. README has the same table.
#[rustfmt::skip]
pub const METRICS: &[Metric] = {
    use Kind::{Counter, Gauge};
    &[
        metric("kmsfs_up", Gauge, "1 while the mount is served", |_| 1.0),
        metric("kmsfs_locked", Gauge, "1 while the volume is locked", |s| flag(s.state == State::Locked)),
        metric("kmsfs_kms_requests_total", Counter, "requests to the KMS since the mount", |s| number(s.kms.calls)),
        metric("kmsfs_kms_failures_total", Counter, "those that failed", |s| number(s.kms.failures)),
        metric("kmsfs_kms_seconds_total", Counter, "how long all of them together took", |s| s.kms.seconds),
        metric("kmsfs_kms_last_contact_seconds", Gauge, "when the KMS last gave the volume key, in seconds since 1970", |s| unix(&s.revocation.last_contact)),
        metric("kmsfs_kms_trouble", Gauge, "1 when something went wrong since then", |s| flag(s.revocation.trouble.is_some())),
        metric("kmsfs_keys_cached", Gauge, "data keys of closed files in memory", |s| number(s.keys.cached)),
        metric("kmsfs_keys_open_files", Gauge, "open files, which hold theirs", |s| number(s.keys.open_files)),
        metric("kmsfs_keys_ahead", Gauge, "new data keys, fetched ahead", |s| number(s.keys.pool)),
        metric("kmsfs_key_hits_total", Counter, "opens that found their key in memory", |s| number(s.keys.hits)),
        metric("kmsfs_key_misses_total", Counter, "opens that had to ask the KMS", |s| number(s.keys.misses)),
        metric("kmsfs_memory_locked", Gauge, "1 when no key can be swapped out", |s| flag(s.keys.memory_locked)),
        metric("kmsfs_journal_bytes", Gauge, "bytes of the journal that wait to be copied to their places", |s| number(s.journal.bytes)),
        metric("kmsfs_journal_capacity_bytes", Gauge, "most bytes that may", |s| number(s.journal.capacity)),
        metric("kmsfs_journal_records_total", Counter, "records written to the journal", |s| number(s.journal.records)),
        metric("kmsfs_journal_checkpoints_total", Counter, "checkpoints", |s| number(s.journal.checkpoints)),
        metric("kmsfs_journal_failed", Gauge, "1 when the journal has failed and takes no more writes", |s| flag(s.journal.failed.is_some())),
    ]
};

/// The metrics of a mount in Prometheus' text format, version 0.0.4.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    let mountpoint = escaped(&status.mountpoint);
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let (name, help, value) = (metric.name, metric.help, (metric.value)(status));
        // Writing into a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let _ = writeln!(text, "{name}{{mountpoint=\"{mountpoint}\"}} {value}");
    }
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_once_with_help_and_type() {
        let status = Status {
            mountpoint: "/a\"b\\c\nd".into(),
            state: State::Locked,
            ..Status::default()
        };
        let text = render(&status);
        for metric in METRICS {
            assert_eq!(
                text.matches(&format!("# TYPE {} ", metric.name)).count(),
                1,
                "{}",
                metric.name
            );
            let counter = metric.name.ends_with("_total");
            assert_eq!(counter, metric.kind == Kind::Counter, "{}", metric.name);
        }
        assert!(
            text.contains("kmsfs_locked{mountpoint=\"/a\\\"b\\\\c\\nd\"} 1\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3 * METRICS.len());
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(unix("2026-01-02T00:00:00Z"), 1_767_312_000.0);
        assert_eq!(unix(""), 0.0);
    }

    #[test]
    fn readme_has_the_same_table() {
        let readme = std::fs::read_to_string("README.md").unwrap();
        let listed: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `kmsfs_")).collect();
        let rows = METRICS
            .iter()
            .map(|metric| format!("| `{}` | {} |", metric.name, metric.help));
        assert_eq!(listed, rows.collect::<Vec<_>>());
    }
}
