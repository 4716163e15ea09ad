//! What a mount tells of itself without being asked, and what becomes of one that nobody uses.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::{Signal, kill_process};

use super::dark::{QUICK, eventually, status};
use super::harness::Vault;

fn vault(options: &[&str]) -> Option<Vault> {
    let mut vault = Vault::unmounted()?;
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    vault.mount_with(options);
    Some(vault)
}

fn get(socket: &Path, request: &str) -> String {
    let mut peer = UnixStream::connect(socket).unwrap();
    write!(peer, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_on_a_private_socket() {
    let Some(mut vault) = Vault::unmounted() else { return };
    let socket = vault.aside("metrics");
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    let place = format!("unix:{}", socket.display());
    vault.mount_with(&["--metrics", &place]);
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    vault.sh("echo a > a; sync a");
    let value = |name: &str| {
        let answer = get(&socket, "GET /metrics");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let line = answer
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!((value("kmsfs_up"), value("kmsfs_locked")), (1.0, 0.0));
    assert!(value("kmsfs_kms_requests_total") >= 1.0 && value("kmsfs_journal_capacity_bytes") > 0.0);
    vault.run(&["lock", vault.plain().to_str().unwrap()]);
    assert_eq!(value("kmsfs_locked"), 1.0);
    assert!(get(&socket, "GET /").starts_with("HTTP/1.1 404"));
    assert!(get(&socket, "PUT /metrics").starts_with("HTTP/1.1 405"));
    vault.run(&["unlock", vault.plain().to_str().unwrap()]);
    // A daemon that died leaves its socket; the next one takes its place.
    vault.kill(vault.daemon());
    vault.clear();
    assert!(socket.exists());
    vault.mount_with(&["--metrics", &place]);
    assert!(get(&socket, "GET /metrics").contains("kmsfs_up"));
}

#[test]
fn the_audit_log_tells_what_happened_and_no_secret() {
    let Some(mut vault) = Vault::unmounted() else { return };
    let (log, moved) = (vault.aside("audit"), vault.aside("audit.1"));
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    vault.mount_with(&[&QUICK[..], &["--audit-log", log.to_str().unwrap(), "--audit-opens"]].concat());
    vault.sh("mkdir d; echo a > d/made; cat d/made > /dev/null; mv d e; cat e/made");
    vault.run(&["lock", vault.plain().to_str().unwrap()]);
    vault.run(&["unlock", vault.plain().to_str().unwrap()]);
    fs::rename(&log, &moved).unwrap();
    kill_process(vault.daemon(), Signal::HUP).unwrap();
    eventually("a new file", || log.exists());
    vault.run(&["key", "disable", "alias/kmsfs"]);
    eventually("dark", || status(&vault)["state"] == "locked");
    vault.run(&["key", "enable", "alias/kmsfs"]);
    eventually("bright", || status(&vault)["state"] == "unlocked");
    vault.umount();
    let events = |path: &Path| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let old = events(&moved);
    let told: Vec<String> = old
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                event["event"].as_str().unwrap(),
                event["path"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let expected = [
        "mount ",
        "open /d/made",
        "open /d/made",
        "open /e/made",
        "lock ",
        "unlock ",
    ];
    assert_eq!(told, expected);
    assert_eq!((&old[1]["write"], &old[2]["write"]), (&true.into(), &false.into()));
    assert_eq!(old[2]["uid"], rustix::process::getuid().as_raw());
    assert_eq!(old[4]["reason"], "by command");
    let new: Vec<_> = events(&log).iter().map(|event| event["event"].clone()).collect();
    assert_eq!(new, ["denied", "lock", "unlock", "unmount"]);
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn an_unused_mount_is_locked_if_that_was_asked_for() {
    let Some(vault) = vault(&["--idle-timeout", "1s", "--idle-action", "lock"]) else {
        return;
    };
    vault.sh("echo a > a; sync a");
    eventually("locked", || status(&vault)["state"] == "locked");
    assert_eq!(status(&vault)["reason"], "unused for 1s");
    vault.run(&["unlock", vault.plain().to_str().unwrap()]);
    vault.sh("grep -qx a a");
}

#[test]
fn an_unused_mount_goes_away_and_a_used_one_stays() {
    let Some(mut vault) = vault(&["--idle-timeout", "1s"]) else {
        return;
    };
    vault.sh("echo a > a; sync a");
    let mounted = |vault: &Vault| {
        let point = vault.plain().display().to_string();
        fs::read_to_string("/proc/mounts").unwrap().contains(&point)
    };
    // Somebody has a file open, and does nothing with it.
    let open = fs::File::open(vault.plain().join("a")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(mounted(&vault));
    drop(open);
    eventually("unmounted", || !mounted(&vault));
    eventually("let go of", || {
        vault
            .kmsfs(&[
                "mount",
                vault.backing().to_str().unwrap(),
                vault.plain().to_str().unwrap(),
            ])
            .status
            .success()
    });
    vault.sh("grep -qx a a");
    vault.clear();
}
