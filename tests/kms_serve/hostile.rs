//! Requests that are huge, slow, cut off, or none: each costs its sender only.

use std::io::{Read, Write};

use crate::served::{Served, get, parse, signed, status};

#[test]
fn cut_off_and_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let good = get(&signed("GET", "ListKeys", &[]).canonical());
    for cut in (0..good.len()).step_by(7) {
        let mut stream = served.connect();
        stream.write_all(&good.as_bytes()[..cut]).unwrap();
    }
    let posts = [
        "content-length: 100\r\n\r\nabc",
        "content-length: -1\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    for rest in posts {
        let mut stream = served.connect();
        stream
            .write_all(format!("POST / HTTP/1.1\r\nhost: h\r\n{rest}").as_bytes())
            .unwrap();
    }
    for garbage in [
        "\0\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\r\n\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = served.raw(garbage.as_bytes());
        assert!(answer.is_empty() || status(&answer) >= 400, "{garbage:?}");
    }
    served.good("ListKeys", &[]);
    assert!(served.stop().success());
}

/// Senders that stop in the middle hold nobody up, and do not keep the server from stopping.
#[test]
fn slow_ones_are_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let begun = |part: &str| {
        let mut stream = served.connect();
        stream.write_all(part.as_bytes()).unwrap();
        stream
    };
    let parts = [
        "",
        "G",
        "GET /?Action=",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nabc",
    ];
    let slow: Vec<_> = (0..200).map(|i| begun(parts[i % parts.len()])).collect();
    for _ in 0..20 {
        served.good("ListKeys", &[]);
    }
    assert!(served.stop().success());
    drop(slow);
}

#[test]
fn huge() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let long = "a".repeat(2 << 20);
    let refused = |request: String, expected: &[u16]| {
        // Whoever still sends when the answer comes may find the connection closed instead.
        let got = status(&served.raw(request.as_bytes()));
        assert!(got == 0 || expected.contains(&got), "{got}");
    };
    for len in [210_000, 300_000, long.len()] {
        refused(get(&long[..len]), &[414, 431]);
    }
    refused(format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n"), &[431]);
    refused(format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100_000)), &[431]);
    let length = long.len();
    refused(
        format!("POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{long}"),
        &[413],
    );
    served.good("ListKeys", &[]);
}

/// The most that an action takes, in the query and in the form body.
#[test]
fn longest_good_requests() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let key = served.new_key();
    let text = "+".repeat(6144);
    let ascii = format!(r#"{{"a":"{}"}}"#, "/".repeat(8192 - 8));
    let arguments = [("KeyId", &*key), ("Plaintext", &*text), ("EncryptionContext", &*ascii)];
    served.good("Encrypt", &arguments);

    let wide = format!(r#"{{"a":"{}"}}"#, "阿".repeat(8192 - 8));
    let arguments = [("KeyId", &*key), ("Plaintext", &*text), ("EncryptionContext", &*wide)];
    served.good("Encrypt", &arguments);
    let form = signed("POST", "Encrypt", &arguments).canonical();
    assert!(form.len() > 90_000, "{}", form.len());
    let length = form.len();
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let (code, answer) = parse(&served.raw(format!("{head}{form}").as_bytes()));
    assert_eq!(code, 200, "{answer}");
}

/// One connection serves many requests, one after the other and sent all at once.
#[test]
fn connections_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let mut stream = served.connect();
    for _ in 0..5 {
        let request = get(&signed("GET", "ListKeys", &[]).canonical()).replace("connection: close\r\n", "");
        stream.write_all(request.as_bytes()).unwrap();
    }
    stream
        .write_all(get(&signed("GET", "ListKeys", &[]).canonical()).as_bytes())
        .unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 6, "{answers}");
}
