//! A key is withdrawn, or only seems to be, behind Alibaba Cloud's wire: with the fault switches of the emulator.

use std::time::{Duration, Instant};

use super::cloud::cloud;
use super::dark::{QUICK, REVOKED, eventually, status};
use super::emulator::Emulator;
use super::harness::Vault;
use super::holder::Holder;

const SEEN: &str = "sixteen bytes...";

/// A mounted volume in the cloud, asked after often, and a program that holds a file of it open and mapped.
fn held(grace: &str) -> Option<(Vault, Emulator, Holder)> {
    let (mut vault, emulator) = cloud()?;
    vault.set("KMSFS_KMS_DEADLINE", "1s");
    vault.mount_with(&[&QUICK[..], &["--offline-grace", grace]].concat());
    vault.sh("printf 'sixteen bytes... and more' > held; sync");
    let mut holder = Holder::of(&vault.plain().join("held"));
    assert_eq!((holder.ask("read"), holder.ask("peek")), (SEEN.into(), "ok".into()));
    Some((vault, emulator, holder))
}

fn assert_dark(vault: &Vault, holder: &mut Holder, because: &str) {
    eventually("dark", || {
        holder.ask("read") == REVOKED && holder.ask("peek") == "SIGBUS"
    });
    eventually("locked", || status(vault)["state"] == "locked");
    let reason = status(vault)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(because), "{reason}");
}

fn assert_bright(vault: &Vault, holder: &mut Holder) {
    eventually("bright", || holder.ask("read") == SEEN);
    assert_eq!((holder.ask("mapped"), holder.ask("peek")), (SEEN.into(), "ok".into()));
    vault.sh("grep -q more held");
}

/// That it stays bright although the KMS fails in a way that a grace is for.
fn assert_stays_bright(vault: &Vault, holder: &mut Holder, trouble: &str) {
    let told = || {
        status(vault)["revocation"]["trouble"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    eventually(trouble, || told().contains(trouble));
    assert_eq!(holder.ask("read"), SEEN, "{}", told());
    assert_eq!(status(vault)["state"], "unlocked");
}

#[test]
fn a_key_that_is_disabled_or_forbidden_makes_it_dark() {
    let Some((mut vault, emulator, mut holder)) = held("1h") else {
        return;
    };
    let endpoint = emulator.url();
    vault.set("KMSFS_KMS", "alibaba");
    let key = |what: &str| vault.run(&["key", what, "alias/test", "--endpoint", &endpoint]);
    key("disable");
    assert_dark(&vault, &mut holder, "Rejected.Disabled");
    key("enable");
    assert_bright(&vault, &mut holder);
    // The permission is enough, and that for one action.
    emulator.faults(r#"{"deny": [{"action": "Decrypt"}]}"#);
    assert_dark(&vault, &mut holder, "Forbidden.NoPermission");
    emulator.faults("{}");
    assert_bright(&vault, &mut holder);
    key("schedule-deletion");
    assert_dark(&vault, &mut holder, "Rejected.PendingDeletion");
    key("cancel-deletion");
    key("enable");
    assert_bright(&vault, &mut holder);
}

#[test]
fn a_kms_that_flaps_is_followed() {
    let Some((vault, emulator, mut holder)) = held("1h") else {
        return;
    };
    for _ in 0..5 {
        emulator.faults(r#"{"deny": [{}]}"#);
        assert_dark(&vault, &mut holder, "denied");
        emulator.faults("{}");
        assert_bright(&vault, &mut holder);
    }
}

#[test]
fn faults_that_are_no_withdrawal_are_served_through() {
    let Some((vault, emulator, mut holder)) = held("1h") else {
        return;
    };
    for (faults, trouble) in [
        (r#"{"errors": {"count": 100000}}"#, "ServiceUnavailable"),
        (
            r#"{"errors": {"count": 100000, "status": 502, "body": "<html>no"}}"#,
            "",
        ),
        (
            r#"{"errors": {"count": 100000, "status": 400, "code": "Rejected.Throttling"}}"#,
            "Throttling",
        ),
        (r#"{"drop": 100000}"#, ""),
        (r#"{"cut": 100000}"#, ""),
        (r#"{"clock_offset_seconds": 7200}"#, "Time"),
    ] {
        emulator.faults(faults);
        assert_stays_bright(&vault, &mut holder, trouble);
        emulator.faults("{}");
        eventually("contact", || status(&vault)["revocation"]["trouble"].is_null());
    }
}

#[test]
fn a_kms_that_hangs_or_is_gone_is_served_through_for_the_grace_and_no_longer() {
    let Some((vault, mut emulator, mut holder)) = held("3s") else {
        return;
    };
    let begin = Instant::now();
    emulator.faults(r#"{"latency_ms": 600000}"#);
    assert_dark(&vault, &mut holder, "no contact");
    assert!(
        begin.elapsed() > Duration::from_millis(2500),
        "dark before the grace was over"
    );
    emulator.kill();
    emulator.revive();
    assert_bright(&vault, &mut holder);
    emulator.kill();
    assert_dark(&vault, &mut holder, "no contact");
    emulator.revive();
    assert_bright(&vault, &mut holder);
}

#[test]
fn a_kms_that_answers_slowly_is_heard() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.mount_with(&QUICK);
    vault.sh("printf 'sixteen bytes... and more' > held; sync");
    let mut holder = Holder::of(&vault.plain().join("held"));
    emulator.faults(r#"{"latency_ms": 1500}"#);
    let before = status(&vault)["revocation"]["last_contact"].clone();
    eventually("a slow answer", || {
        status(&vault)["revocation"]["last_contact"] != before
    });
    assert_eq!(
        (holder.ask("read"), status(&vault)["revocation"]["trouble"].is_null()),
        (SEEN.into(), true)
    );
    emulator.faults(r#"{"latency_ms": 1500, "deny": [{}]}"#);
    assert_dark(&vault, &mut holder, "denied");
    emulator.faults(r#"{"latency_ms": 1500}"#);
    assert_bright(&vault, &mut holder);
}

#[test]
fn a_key_that_is_disabled_for_a_second_makes_it_dark_for_as_long() {
    let Some((mut vault, emulator, mut holder)) = held("1h") else {
        return;
    };
    let endpoint = emulator.url();
    vault.set("KMSFS_KMS", "alibaba");
    vault.run(&["key", "disable", "alias/test", "--endpoint", &endpoint]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(holder.ask("read"), REVOKED);
    vault.run(&["key", "enable", "alias/test", "--endpoint", &endpoint]);
    assert_bright(&vault, &mut holder);
}
