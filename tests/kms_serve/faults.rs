//! The admin endpoint: faults come and go as it is told, and it counts.

use serde_json::{Value, json};

use crate::served::{Served, get, signed};

#[test]
fn faults_are_shown_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let (code, none) = served.admin("GET", "/faults", "");
    assert_eq!((code, &none["drop"]), (200, &Value::from(0)));
    let (code, shown) = served.admin("PUT", "/faults", r#"{"drop": 1, "actions": ["ListKeys"]}"#);
    assert_eq!(
        (code, &shown["drop"], &shown["actions"]),
        (200, &json!(1), &json!(["ListKeys"]))
    );
    assert!(
        served
            .raw(get(&signed("GET", "ListKeys", &[]).canonical()).as_bytes())
            .is_empty()
    );
    assert_eq!(served.admin("GET", "/faults", "").1["drop"], 0);
    served.good("ListKeys", &[]);
    served.admin(
        "PUT",
        "/faults",
        r#"{"errors": {"count": 1, "status": 502, "body": "<html>bad gateway</html>"}}"#,
    );
    let answer = served.raw(get(&signed("GET", "ListKeys", &[]).canonical()).as_bytes());
    let text = String::from_utf8(answer).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 502 ") && text.ends_with("<html>bad gateway</html>"),
        "{text}"
    );
    for wrong in [
        "",
        "{",
        "[1]",
        r#"{"dorp": 1}"#,
        r#"{"latency_ms": 99999999999}"#,
        r#"{"errors": {}}"#,
    ] {
        let (code, answer) = served.admin("PUT", "/faults", wrong);
        assert_eq!(code, 400, "{wrong}");
        assert!(answer["error"].as_str().is_some_and(|why| !why.is_empty()));
    }
    assert_eq!(served.admin("GET", "/", "").0, 404);
}

#[test]
fn half_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    served.admin("PUT", "/faults", r#"{"cut": 1}"#);
    let answer = served.raw(get(&signed("GET", "ListKeys", &[]).canonical()).as_bytes());
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let length: usize = length.parse().unwrap();
    assert_eq!(body.len(), length / 2, "{text}");
}

#[test]
fn calls_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    served.new_key();
    served.good("ListKeys", &[]);
    served.call("DescribeKey", &[("KeyId", "alias/none")]);
    let (_, counts) = served.admin("GET", "/calls", "");
    let expected = json!({
        "calls": {"CreateKey": 1, "DescribeKey": 1, "ListKeys": 1},
        "refusals": {"Forbidden.AliasNotFound": 1},
        "requests": 3,
    });
    assert_eq!(counts, expected);
    let (_, counts) = served.admin("DELETE", "/calls", "");
    assert_eq!(counts, json!({"calls": {}, "refusals": {}, "requests": 0}));
}
