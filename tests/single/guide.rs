//! Chapters 2 and 3 of the KMS best-practice guide, as they are written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use data_encoding::BASE64;

use crate::place::{Place, pattern};

/// Chapter 2: `key.pem` is encrypted online, the file `key.pem.cipher` is the CiphertextBlob and nothing else.
#[test]
fn chapter_2_a_private_key() {
    Place::both().iter().for_each(chapter_2_a_private_key_on);
}

fn chapter_2_a_private_key_on(place: &Place) {
    fs::create_dir(place.path("certs")).unwrap();
    let pem = BASE64.encode(&pattern(2400));
    let lines: Vec<&str> = pem
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    place.write("certs/key.pem", &pem);
    place.ok(&["encrypt", "--key-id", "alias/Apollo/WorkKey", "certs/key.pem"]);
    let cipher = String::from_utf8(place.read("certs/key.pem.cipher")).unwrap();
    assert!(!cipher.contains(char::is_whitespace), "{cipher:?}");
    let blob = BASE64.decode(cipher.as_bytes()).unwrap();
    assert_eq!(blob.len(), 36 + 12 + pem.len() + 16);
    place.ok(&["decrypt", "certs/key.pem.cipher", "-o", "certs/decrypted_key.pem"]);
    assert_eq!(place.read("certs/decrypted_key.pem"), pem.as_bytes());
    // An editor, or `echo`, adds a newline; a mail program breaks the line.
    for (number, same) in [
        format!("{cipher}\n"),
        format!("{cipher}\r\n\n"),
        cipher.replace("MD", "M\nD"),
    ]
    .iter()
    .enumerate()
    {
        let (name, out) = (format!("{number}.cipher"), number.to_string());
        place.write(&name, same);
        place.ok(&["decrypt", &name]);
        assert_eq!(place.read(&out), pem.as_bytes());
    }
    // Text without a newline at its end, and with one, come back as they were.
    for text in ["x", "x\n", "\n", "阿波罗"] {
        let cipher = place.pipe(&["encrypt"], text.as_bytes());
        assert_eq!(place.pipe(&["decrypt"], &cipher), text.as_bytes());
    }
}

#[test]
fn chapter_2_limits() {
    Place::both().iter().for_each(chapter_2_limits_on);
}

fn chapter_2_limits_on(place: &Place) {
    place.write("longest", "a".repeat(6144));
    place.ok(&["encrypt", "longest"]);
    place.ok(&["decrypt", "longest.cipher", "--force"]);
    assert_eq!(place.read("longest").len(), 6144);
    place.write("longer", "a".repeat(6145));
    place.write("binary", [b'a', 0xff, b'b']);
    place.write("empty", "");
    for name in ["longer", "binary", "empty"] {
        assert!(place.fails(&["encrypt", name], 3).contains("kmsfs seal"));
        assert!(!place.path(&format!("{name}.cipher")).exists());
    }
    // Not a CiphertextBlob; one of no key here; nothing at all.
    for (name, code) in [("longer", 15), ("binary", 16), ("empty", 16), ("absent", 3)] {
        place.fails(&["decrypt", name], code);
    }
}

#[test]
fn chapter_2_context_and_withdrawal() {
    Place::both().iter().for_each(chapter_2_context_and_withdrawal_on);
}

fn chapter_2_context_and_withdrawal_on(place: &Place) {
    place.write("text", "secret");
    let key = ["--key-id", "alias/Apollo/WorkKey"];
    place.ok(&[
        "encrypt",
        "text",
        key[0],
        key[1],
        "--context",
        "app=阿波罗",
        "--context",
        "purpose=a=b",
    ]);
    let same = ["--context", "purpose=a=b", "--context", "app=阿波罗"];
    let decrypted = place.ok(&[&["decrypt", "text.cipher", "-o", "-"][..], &same].concat());
    assert_eq!(decrypted, "secret");
    place.fails(&["decrypt", "text.cipher", "-o", "-"], 15);
    place.fails(&["decrypt", "text.cipher", "-o", "-", "--context", "app=b"], 15);
    place.fails(&["decrypt", "text.cipher", "--context", "app"], 2);
    place.ok(&["key", "disable", "alias/Apollo/WorkKey"]);
    let dark = place.fails(&[&["decrypt", "text.cipher", "-o", "-"][..], &same].concat(), 13);
    assert!(dark.contains("kmsfs key enable"), "{dark}");
    place.fails(&["encrypt", "text", "--force", key[0], key[1]], 13);
}

/// Chapter 3: `sales.csv` in an envelope.
#[test]
fn chapter_3_a_table() {
    Place::both().iter().for_each(chapter_3_a_table_on);
}

fn chapter_3_a_table_on(place: &Place) {
    let table = "region,amount\ncn-hangzhou,100\n".repeat(40_000);
    place.write("sales.csv", &table);
    fs::set_permissions(place.path("sales.csv"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = place.ok(&[
        "seal",
        "--format",
        "guide",
        "--key-id",
        "alias/Apollo/WorkKey",
        "sales.csv",
    ]);
    assert_eq!(said, "sales.csv.cipher\n");
    let sealed = String::from_utf8(place.read("sales.csv.cipher")).unwrap();
    let lines: Vec<Vec<u8>> = sealed
        .lines()
        .map(|line| BASE64.decode(line.as_bytes()).unwrap())
        .collect();
    let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
    assert_eq!(lengths, [108, 16, table.len(), 16]);
    place.ok(&[
        "unseal",
        "--format",
        "guide",
        "sales.csv.cipher",
        "-o",
        "decrypted_sales.csv",
    ]);
    assert!(place.read("decrypted_sales.csv") == table.as_bytes());
    let mode = fs::metadata(place.path("decrypted_sales.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Without -o its old name; never over what is there.
    place.fails(&["unseal", "--format", "guide", "sales.csv.cipher"], 3);
    // The same, where something was changed.
    for (at, name) in [(10, "blob"), (150, "nonce"), (300, "text"), (sealed.len() - 20, "tag")] {
        let mut edited = sealed.clone().into_bytes();
        edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
        place.write(&format!("{name}.cipher"), edited);
        let words = ["unseal", "--format", "guide", &format!("{name}.cipher")];
        let code = place.command(&words).output().unwrap().status.code();
        assert!(matches!(code, Some(13 | 15 | 16)), "{name}: {code:?}");
        assert!(!place.path(name).exists());
    }
    place.write("cut.cipher", &sealed[..sealed.len() - 5]);
    place.fails(&["unseal", "--format", "guide", "cut.cipher"], 16);
    assert!(
        !place
            .names()
            .iter()
            .any(|name| name.starts_with(".kmsfs") || name == "cut"),
        "{:?}",
        place.names()
    );
}

/// PyCryptodome, as the guide uses it, opens what we seal, and we open what it seals. Needs a Python with it:
/// `KMSFS_PYCRYPTODOME`, as scripts/check.sh sets it.
#[test]
fn chapter_3_with_pycryptodome() {
    let Some(python) = std::env::var_os("KMSFS_PYCRYPTODOME") else {
        eprintln!("passed over: KMSFS_PYCRYPTODOME names no Python that has PyCryptodome");
        return;
    };
    let place = Place::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/single/envelope.py");
    for size in [0, 1, 15, 16, 17, 300_000] {
        place.write("plain", pattern(size));
        place.ok(&["seal", "--format", "guide", "plain", "--force"]);
        // The data key, which only the KMS can tell.
        let sealed = String::from_utf8(place.read("plain.cipher")).unwrap();
        let wrapped = sealed.lines().next().unwrap();
        let key = place.pipe(&["decrypt"], wrapped.as_bytes());
        place.write("key", &key);
        let status = Command::new(&python)
            .arg(&script)
            .arg("open")
            .current_dir(place.path(""))
            .status();
        assert!(status.unwrap().success());
        assert!(place.read("opened") == pattern(size), "{size}");
        // And the other way, under the same data key.
        let status = Command::new(&python)
            .arg(&script)
            .arg("seal")
            .current_dir(place.path(""))
            .status();
        assert!(status.unwrap().success());
        place.ok(&["unseal", "--format", "guide", "theirs.cipher", "--force"]);
        assert!(place.read("theirs") == pattern(size), "{size}");
    }
}
