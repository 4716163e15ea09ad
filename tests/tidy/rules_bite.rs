//! Each rule finds what it is for: a rule that never complains holds nothing.

use super::source::{Source, blank};
use super::*;

fn source(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

#[test]
fn stairs() {
    let complaints = |path, text| check_stairs(&[source(path, text)]).len();
    assert_eq!(complaints("src/format/a.rs", "use crate::crypto::Key;"), 1);
    assert_eq!(
        complaints("src/store/a.rs", "use crate::{\n    fs::Fs, format::{a, b}, fuse,\n};"),
        2
    );
    assert_eq!(
        complaints("src/crypto/a.rs", "use crate::format::A; // crate::fs\n\"crate::fs\""),
        0
    );
    assert_eq!(
        complaints("src/crypto/a.rs", "#[cfg(test)]\nmod tests { use crate::fs::Fs; }"),
        0
    );
    assert_eq!(
        complaints("src/crypto/a.rs", "#[cfg(test)]\nmod x;\nuse crate::fs::Fs;"),
        1
    );
    assert_eq!(complaints("src/attic/a.rs", ""), 1);
    let door = source("src/crypto/mod.rs", "#[cfg(test)]\npub(crate) mod fake;");
    assert_eq!(
        check_stairs(&[door, source("src/crypto/fake.rs", "use crate::fs::Fs;")]).len(),
        0
    );
}

#[test]
fn sizes() {
    let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES_MAX));
    assert_eq!(check_sizes(&source("src/a.rs", &long)).len(), 1);
    assert_eq!(
        check_sizes(&source("src/a.rs", &"\n".repeat(FILE_LINES_MAX + 1))).len(),
        1
    );
    let fine = format!(
        "fn f(a: [u8; 3]) {{\n{}}}\n",
        "    g();\n".repeat(FUNCTION_LINES_MAX - 2)
    );
    assert_eq!(check_sizes(&source("src/a.rs", &fine)).len(), 0);
    assert_eq!(check_sizes(&source("src/a.rs", "trait T { fn f(); }")).len(), 0);
}

#[test]
fn openings_and_doors() {
    assert_eq!(check_opening(&source("src/a.rs", "use a;\n")).len(), 1);
    assert_eq!(check_opening(&source("src/a.rs", "//! What it is.\n")).len(), 0);
    assert_eq!(check_door(&source("src/a/mod.rs", "mod b;\npub fn f() {}\n")).len(), 1);
    assert_eq!(
        check_door(&source("src/a/mod.rs", "//! fn\nmod b;\npub use b::B;\n")).len(),
        0
    );
}

#[test]
fn banned_words() {
    let complaints = |path, text| check_banned(&source(path, text)).len();
    for bad in [
        "todo!()",
        "unimplemented!()",
        "dbg!(x)",
        "println!()",
        "eprint!()",
        "unsafe { }",
        "use fuser::A;",
    ] {
        assert_eq!(complaints("src/fs/a.rs", bad), 1, "{bad}");
    }
    assert_eq!(complaints("src/sys/a.rs", "unsafe { }"), 0);
    assert_eq!(complaints("src/fuse/a.rs", "use fuser::A;"), 0);
    assert_eq!(
        complaints(
            "src/fs/a.rs",
            "// unsafe todo!\nlet a = \"dbg!\"; let unsafe_ness = 'u';"
        ),
        0
    );
}

#[test]
fn blanks_and_scripts() {
    assert_eq!(check_blanks("a", "x \ny\t\nz").len(), 3);
    assert_eq!(check_blanks("a", "x\n\ny\n").len(), 0);
    assert_eq!(check_script("a", "#!/bin/sh\nset -eu\n", 0o644).len(), 1);
    assert_eq!(check_script("a", "#!/usr/bin/env bash\ntrue\n", 0o755).len(), 1);
    assert_eq!(
        check_script("a", "#!/usr/bin/env bash\nset -euo pipefail\n", 0o755).len(),
        0
    );
}

#[test]
fn literals_are_no_code() {
    let text = "a \"b\\\"{\" 'c' '\\'' '\\n' <'d> r#\"e\"#  /* f /* g */ h */ i // j\nk";
    let code: Vec<String> = blank(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(code, ["a", "<'d>", "i", "k"]);
    assert_eq!(blank(text).matches('\n').count(), 1);
}
