//! A volume whose master key is in Alibaba Cloud KMS, or rather in an emulator behind the same wire: the KMS goes and
//! comes, lies far away, refuses; and who calls it costs.

use std::fs;

use super::emulator::{Emulator, SECRET};
use super::harness::Vault;

/// A vault under `alias/test`, not mounted.
pub fn cloud() -> Option<(Vault, Emulator)> {
    let mut vault = Vault::unmounted()?;
    let emulator = Emulator::start(&mut vault);
    let endpoint = emulator.url();
    vault.run(&["key", "create", "--alias", "alias/test", "--endpoint", &endpoint]);
    let backing = vault.backing();
    let backing = backing.to_str().unwrap();
    let to = [
        "--region",
        "cn-hangzhou",
        "--endpoint",
        &endpoint,
        "--key-id",
        "alias/test",
    ];
    vault.run(&[&["init", backing][..], &to].concat());
    // From now on the descriptor says where its key is.
    vault.set("KMSFS_KMS", "local");
    Some((vault, emulator))
}

/// A read past the kernel's cache.
const READ: &str = "dd iflag=direct bs=4096 status=none if=";

#[test]
fn first_light_and_the_kms_goes_and_comes() {
    let Some((mut vault, mut emulator)) = cloud() else {
        return;
    };
    // Lower bounds only, for a test: what hangs here hangs for seconds.
    vault.set("KMSFS_KMS_DEADLINE", "3s");
    vault.mount();
    vault.sh("echo warm > warm; echo cold > cold; sync");
    vault.umount();
    vault.mount();
    assert_eq!(vault.sh(&format!("{READ}warm")), "warm\n");
    emulator.kill();
    // What is cached goes on, and what is not fails with a clear errno and in bounded time.
    assert_eq!(
        vault.sh(&format!("{READ}warm; echo more >> warm; cat warm")),
        "warm\nwarm\nmore\n"
    );
    let failed = fs::read(vault.plain().join("cold")).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(rustix::io::Errno::TIMEDOUT.raw_os_error()));
    vault.sh("ls -l; mv cold colder; mkdir dir");
    emulator.revive();
    vault.sh("for i in $(seq 100); do cat colder 2>/dev/null && exit; sleep 0.2; done; exit 1");
    vault.sh("for i in $(seq 20); do echo $i > dir/$i; done; sync");
    vault.umount();
    vault.mount();
    assert_eq!(vault.sh("cat colder; cat dir/* | sort -n | tail -1"), "cold\n20\n");
}

#[test]
fn creating_and_scanning_ask_once_for_each_file() {
    let Some((mut vault, emulator)) = cloud() else { return };
    emulator.faults(r#"{"latency_ms": 5}"#);
    let before = emulator.calls("GenerateDataKey");
    vault.mount();
    vault.sh("for i in $(seq 300); do echo $i > f$i; done; sync");
    let made = emulator.calls("GenerateDataKey") - before;
    // One each, and those that wait for more.
    assert!((300..=300 + 64 + 16).contains(&made), "{made}");
    vault.umount();
    vault.mount();
    let before = emulator.calls("Decrypt");
    assert_eq!(vault.sh("cat * | wc -l").trim(), "300");
    assert_eq!(emulator.calls("Decrypt") - before, 300);
}

#[test]
fn shared_data_keys_need_a_few_calls_only() {
    let Some((mut vault, emulator)) = cloud() else { return };
    let before = emulator.calls("GenerateDataKey");
    let options = ["--key-reuse", "1000,1h,1G"];
    vault.mount_with(&options);
    vault.sh("for i in $(seq 300); do echo $i > f$i; done; sync");
    // The shared one, and those that wait for more files.
    let made = emulator.calls("GenerateDataKey") - before;
    assert!(made <= 10, "{made}");
    vault.umount();
    vault.mount_with(&options);
    let before = emulator.calls("Decrypt");
    assert_eq!(vault.sh("cat * | wc -l").trim(), "300");
    assert_eq!(emulator.calls("Decrypt") - before, 1);
}

#[test]
fn faults_on_the_way_are_not_seen_by_programs() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.mount();
    vault.sh("for i in $(seq 50); do echo $i > f$i; done; sync");
    vault.umount();
    emulator.faults(r#"{"drop": 1}"#);
    vault.mount();
    for faults in [
        r#"{"drop": 2}"#,
        r#"{"cut": 2}"#,
        r#"{"errors": {"count": 3, "status": 503}}"#,
        r#"{"errors": {"count": 2, "status": 502, "body": "<html>bad gateway</html>"}}"#,
        r#"{"errors": {"count": 2, "status": 429, "code": "Rejected.Throttling"}}"#,
    ] {
        // One at a time: all together they would open the circuit.
        emulator.faults("{}");
        vault.umount();
        vault.mount();
        emulator.faults(faults);
        vault.sh("n=$(ls | shuf -n 1); cat $n; echo new > new-$RANDOM");
    }
    assert_eq!(vault.sh("cat f* | wc -l").trim(), "50");
}

#[test]
fn a_withdrawn_permission_is_denied_at_once_with_the_request_id() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.mount();
    vault.sh("echo a > a; sync");
    vault.umount();
    let log = vault.aside("log");
    vault.mount_with(&["--log", log.to_str().unwrap()]);
    emulator.faults(r#"{"deny": [{"action": "Decrypt"}]}"#);
    let failed = fs::read(vault.plain().join("a")).unwrap_err();
    assert_eq!(
        failed.raw_os_error(),
        Some(rustix::io::Errno::KEYREVOKED.raw_os_error())
    );
    let logged = fs::read_to_string(&log).unwrap();
    assert!(logged.contains("Forbidden.NoPermission, request "), "{logged}");
    // The watcher takes notice and locks, perhaps just now.
    vault.umount();
    let (backing, plain) = (vault.backing(), vault.plain());
    let output = vault.kmsfs(&["mount", backing.to_str().unwrap(), plain.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(13), "{said}");
    assert!(
        said.contains("Forbidden.NoPermission, request ") && said.contains("\nhelp: "),
        "{said}"
    );
}

#[test]
fn no_log_however_wordy_holds_a_secret() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.set("KMSFS_LOG_LEVEL", "trace");
    vault.set("RUST_LOG", "trace");
    vault.set("ALIBABA_CLOUD_SECURITY_TOKEN", "");
    let log = vault.aside("log");
    vault.mount_with(&["--log", log.to_str().unwrap()]);
    emulator.faults(r#"{"errors": {"count": 2}, "cut": 1}"#);
    vault.sh("echo SECRET-CONTENT > SECRET-NAME; sync; cat SECRET-NAME");
    vault.umount();
    let logged = fs::read_to_string(&log).unwrap();
    assert!(
        logged.contains("is mounted at") && logged.lines().count() > 10,
        "{logged}"
    );
    for secret in [SECRET, "SECRET-CONTENT", "Plaintext", "Authorization", "Signature="] {
        assert!(!logged.contains(secret), "{secret}: {logged}");
    }
    // A wrong secret: the service quotes what was to be signed, and with it what was to be encrypted.
    vault.set("KMSFS_KMS", "alibaba");
    vault.set("KMSFS_KMS_SIGNATURE", "v1");
    vault.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "wrong");
    fs::write(vault.aside("small"), "SECRET-CONTENT").unwrap();
    let small = vault.aside("small");
    let endpoint = emulator.url();
    let output = vault.kmsfs(&[
        "encrypt",
        small.to_str().unwrap(),
        "--key-id",
        "alias/test",
        "--endpoint",
        &endpoint,
    ]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("SignatureDoesNotMatch, request ") && !said.contains("SECRET-CONTENT"),
        "{said}"
    );
}

#[test]
fn an_edited_descriptor_leads_no_request_away() {
    let Some((vault, emulator)) = cloud() else { return };
    let path = vault.backing().join("kmsfs.volume");
    let descriptor = fs::read_to_string(&path).unwrap();
    fs::write(&path, descriptor.replace(&emulator.url(), "https://kms.example")).unwrap();
    let (backing, plain) = (vault.backing(), vault.plain());
    let output = vault.kmsfs(&["mount", backing.to_str().unwrap(), plain.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("kms.example") && said.contains("--endpoint"), "{said}");
}

#[test]
fn mistakes_are_named() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.set("KMSFS_KMS", "alibaba");
    vault.set("KMSFS_ENDPOINT", &emulator.url());
    let target = vault.aside("new");
    let init = |vault: &Vault, key: &str| {
        let output = vault.kmsfs(&["init", target.to_str().unwrap(), "--key-id", key]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("\nhelp: ") && said.lines().count() == 2, "{said}");
        assert!(!target.exists(), "nothing is left behind");
        (output.status.code().unwrap(), said)
    };
    let (code, said) = init(&vault, "alias/nobody");
    assert!(
        code == 13 && said.contains("Forbidden.AliasNotFound, request "),
        "{said}"
    );
    emulator.faults(r#"{"clock_offset_seconds": 3600}"#);
    let (code, said) = init(&vault, "alias/test");
    assert!(code == 15 && said.contains("clock"), "{said}");
    emulator.faults(r#"{"expired": ["testid"]}"#);
    let (code, said) = init(&vault, "alias/test");
    assert!(matches!(code, 13 | 15), "{said}");
    emulator.faults("{}");
    vault.set("ALIBABA_CLOUD_ACCESS_KEY_ID", "stranger");
    let (code, said) = init(&vault, "alias/test");
    assert!(code == 15 && said.contains("InvalidAccessKeyId.NotFound"), "{said}");
    vault.set("KMSFS_ENDPOINT", "http://192.0.2.1");
    let (code, said) = init(&vault, "alias/test");
    assert!(code == 2 && said.contains("unencrypted"), "{said}");
    vault.set("KMSFS_ENDPOINT", "");
    let (code, said) = init(&vault, "alias/test");
    assert!(code == 2 && said.contains("--region"), "{said}");
}

/// Tries to mount, which must fail; gives the exit code and what was said.
fn refused(vault: &Vault) -> (i32, String) {
    let (backing, plain) = (vault.backing(), vault.plain());
    let output = vault.kmsfs(&["mount", backing.to_str().unwrap(), plain.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\nhelp: ") && said.contains("request "), "{said}");
    (output.status.code().unwrap(), said)
}

#[test]
fn wrapped_keys_that_do_not_belong_here() {
    let Some((vault, emulator)) = cloud() else { return };
    let (other, stranger) = cloud().unwrap();
    let path = vault.backing().join("kmsfs.volume");
    let descriptor = fs::read_to_string(&path).unwrap();
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.contains(name)).unwrap();
        line.split('"').nth(3).unwrap().to_owned()
    };
    let (key, blob) = (line(&descriptor, "master_key"), line(&descriptor, "\"blob\""));
    let with = |new: &str| fs::write(&path, descriptor.replace(&blob, new)).unwrap();
    // Damaged, and cut to something shorter.
    let turned = if blob.ends_with("A") { "B" } else { "A" };
    with(&format!("{}{turned}{}", &blob[..100], &blob[101..]));
    assert_eq!(refused(&vault).0, 15);
    with(&blob[..80]);
    assert_eq!(refused(&vault).0, 15);
    // Of another KMS, whose keys nobody knows here.
    let foreign = fs::read_to_string(other.backing().join("kmsfs.volume")).unwrap();
    with(&line(&foreign, "\"blob\""));
    let (code, said) = refused(&vault);
    assert!(code == 13 && said.contains("Forbidden.KeyNotFound"), "{said}");
    drop(stranger);
    // Of the same key, but bound to another volume.
    let second = vault.aside("second");
    let endpoint = emulator.url();
    let to = ["--kms", "alibaba", "--endpoint", &endpoint, "--key-id", &key];
    vault.run(&[&["init", second.to_str().unwrap()][..], &to].concat());
    let second = fs::read_to_string(second.join("kmsfs.volume")).unwrap();
    with(&line(&second, "\"blob\""));
    assert_eq!(refused(&vault).0, 15);
}

#[test]
fn keys_that_cannot_wrap() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.set("KMSFS_KMS", "alibaba");
    vault.set("KMSFS_ENDPOINT", &emulator.url());
    let target = vault.aside("new");
    let init = |key: &str| {
        let output = vault.kmsfs(&["init", target.to_str().unwrap(), "--key-id", key]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(", request ") && !target.exists(), "{said}");
        output.status.code().unwrap()
    };
    let rsa = vault.run(&["key", "create", "--spec", "RSA_2048"]);
    assert_eq!(init(rsa.trim()), 15);
    vault.run(&["key", "disable", "alias/test"]);
    assert_eq!(init("alias/test"), 13);
    assert_eq!(refused(&vault).0, 13);
    vault.run(&["key", "schedule-deletion", "alias/test"]);
    assert_eq!(init("alias/test"), 13);
}
