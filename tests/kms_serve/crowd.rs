//! Many at once, and what is left when the server is killed among them.

use std::io::{Read, Write};
use std::sync::{Barrier, Mutex};
use std::thread;

use crate::served::{Served, get, parse, signed};

const CROWD: usize = 1000;

/// All connected before the first one asks.
#[test]
fn a_thousand_requests_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let key = served.new_key();
    let barrier = Barrier::new(CROWD);
    let ask = || {
        let mut stream = served.connect();
        let request = get(&signed("GET", "GenerateDataKey", &[("KeyId", &key)]).canonical());
        barrier.wait();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (status, answer) = parse(&answer);
        assert_eq!(status, 200, "{answer}");
        answer["CiphertextBlob"].as_str().unwrap().to_owned()
    };
    let mut blobs = thread::scope(|scope| {
        let spawn = |_| {
            thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, ask)
                .unwrap()
        };
        let threads: Vec<_> = (0..CROWD).map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    blobs.sort();
    blobs.dedup();
    assert_eq!(blobs.len(), CROWD);
    let (_, counts) = served.admin("GET", "/calls", "");
    assert_eq!(counts["calls"]["GenerateDataKey"], CROWD);
    assert!(served.stop().success());
}

/// Whatever was acknowledged before the kill is there afterwards, and opens.
#[test]
fn killed_and_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Mutex::new(Vec::new());
    for _ in 0..3 {
        let served = Served::start(dir.path());
        let make = || {
            // Ends when the server no longer answers.
            loop {
                let answer = served.raw(get(&signed("GET", "CreateKey", &[]).canonical()).as_bytes());
                if answer.is_empty() {
                    return;
                }
                let (status, made) = parse(&answer);
                assert_eq!(status, 200, "{made}");
                let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
                let mut known = acknowledged.lock().unwrap();
                known.push(key);
                if known.len() % 10 == 0 {
                    return served.kill();
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(make);
            }
        });
    }
    let served = Served::start(dir.path());
    let known = acknowledged.into_inner().unwrap();
    assert!(known.len() >= 30);
    for key in &known {
        let sealed = served.good("Encrypt", &[("KeyId", key), ("Plaintext", "x")]);
        let blob = sealed["CiphertextBlob"].as_str().unwrap();
        assert_eq!(served.good("Decrypt", &[("CiphertextBlob", blob)])["KeyId"], **key);
    }
    assert!(served.stop().success());
}
