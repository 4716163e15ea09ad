//! The command itself: what it refuses to begin with, what it prints, what it leaves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::served::{Served, command, get, signed, status};

/// The two lines of a command that does not begin.
fn refused(words: &[&str], code: i32, what: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys"), "testid\n").unwrap();
    fs::write(dir.path().join("good"), "testid testsecret\n").unwrap();
    let output = command(dir.path(), words).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(
        lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("help: "),
        "{error}"
    );
    assert!(error.contains(what), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_it_refuses() {
    let any = "127.0.0.1:0";
    refused(&["--listen", "0.0.0.0:0", "--store", "s"], 2, "this host");
    refused(&["--listen", any, "--admin", "[::]:0", "--store", "s"], 2, "this host");
    refused(&["--listen", "nonsense", "--store", "s"], 2, "127.0.0.1:PORT");
    refused(
        &["--listen", any, "--store", "s", "--region", "CN/hangzhou"],
        2,
        "CN/hangzhou",
    );
    refused(&["--listen", any, "--store", "s", "--access-keys", "keys"], 2, "line 1");
    refused(&["--listen", any, "--store", "s", "--access-keys", "none"], 3, "none");
    refused(&["--listen", any, "--store", "keys"], 11, "keys");
    // Its own access keys, or it would say that it made some.
    let with_keys = ["--store", "s", "--access-keys", "good"];
    let taken = std::net::TcpListener::bind(any).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&[&["--listen", &address][..], &with_keys].concat(), 7, &address);
}

/// Without access keys it makes one; the log says where, and holds no secret.
#[test]
fn access_keys_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for _ in 0..2 {
        let words = ["--listen", "127.0.0.1:0", "--store", "store"];
        let mut child = command(dir.path(), &words)
            .env("KMSFS_LOG_LEVEL", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        let path = dir.path().join("store.access-keys");
        let text = fs::read_to_string(&path).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && first.starts_with("listening on http://127.0.0.1:"),
            "{first}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let log = String::from_utf8(output.stderr).unwrap();
        let secret = text.lines().last().unwrap().split(' ').nth(1).unwrap();
        assert_eq!(log.contains("store.access-keys"), made.is_empty(), "{log}");
        assert!(!log.contains(secret), "{log}");
        made.push(text);
    }
    assert_eq!(made[0], made[1]);
}

/// Neither plain text nor secrets reach the log, not even when all is logged.
#[test]
fn log_holds_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (served, log) = Served::start_logging(dir.path());
    let key = served.new_key();
    let sealed = served.good("Encrypt", &[("KeyId", &key), ("Plaintext", "plain-as-day")]);
    served.good(
        "Decrypt",
        &[("CiphertextBlob", sealed["CiphertextBlob"].as_str().unwrap())],
    );
    let mut wrong = signed("GET", "Encrypt", &[("KeyId", &key), ("Plaintext", "plain-as-day")]);
    wrong.set("Plaintext", "plain-as-night");
    assert_eq!(status(&served.raw(get(&wrong.canonical()).as_bytes())), 400);
    assert!(served.stop().success());
    let log = log.join().unwrap();
    assert!(
        log.contains("Decrypt: done") && log.contains("SignatureDoesNotMatch"),
        "{log}"
    );
    for secret in ["plain-as", "testsecret", "stssecret", "CAIStest"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

/// A store under a passphrase is served with it, and not without.
#[test]
fn store_under_a_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys"), "testid testsecret\n").unwrap();
    fs::write(dir.path().join("secret"), "open sesame\n").unwrap();
    fs::write(dir.path().join("wrong"), "open barley\n").unwrap();
    let words = ["--listen", "127.0.0.1:0", "--store", "store", "--access-keys", "keys"];
    let with = |passphrase: &str| {
        let mut command = command(dir.path(), &[&words[..], &["--passphrase-file", passphrase]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        // One that has ended by itself cannot be signalled any more.
        let _ = child.kill();
        let code = child.wait().unwrap().code();
        (first.starts_with("listening on "), code)
    };
    // Made, then opened again: killed both times.
    assert_eq!((with("secret"), with("secret")), ((true, None), (true, None)));
    assert_eq!(with("wrong"), (false, Some(12)));
}
