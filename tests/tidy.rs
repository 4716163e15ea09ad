//! The house rules that the compiler does not hold: who may import whom, how long a file and a function may be, what
//! must not stand where. Each rule is a function from sources to complaints, and each is tested on a bad sample.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Who may import whom; ARCHITECTURE.md says what lives in each room. Stairs go one way, from the ground up.
const STAIRS: &[(&str, &[&str])] = &[
    ("format", &[]),
    ("sys", &[]),
    ("crypto", &["format", "sys"]),
    ("kms", &["crypto", "format"]),
    ("keys", &["kms", "crypto", "format", "sys"]),
    ("store", &["format", "crypto", "sys"]),
    (
        "volume",
        &["format", "crypto", "kms", "keys", "store", "sys"],
    ),
    ("names", &["format", "crypto", "sys"]),
    (
        "fs",
        &[
            "format", "crypto", "kms", "keys", "store", "volume", "names", "sys",
        ],
    ),
    ("fuse", &["fs"]),
    ("control", &["fs", "keys"]),
    ("cli", &[]),
    ("config", &["cli", "format", "fuse", "keys", "store"]),
    (
        "cmd",
        &[
            "cli", "config", "control", "crypto", "format", "fs", "fuse", "keys", "kms", "names",
            "store", "sys", "volume",
        ],
    ),
    ("main", &["cmd"]),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// A source file: its text, and its code, in which comments and literals are blanked out, line for line.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// `src/store/commit.rs` is in `store`.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside
            .split('/')
            .next()
            .unwrap_or(inside)
            .trim_end_matches(".rs")
    }

    fn is_door(&self) -> bool {
        self.path.ends_with("/mod.rs")
    }

    fn complain(&self, line: usize, about: impl std::fmt::Display) -> String {
        format!("{}:{}: {about}", self.path, line + 1)
    }
}

/// Code without comments, texts and characters, which become blanks; line ends stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = out
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        let skipped = match literal_len(rest, in_word) {
            0 => {
                out.push(first);
                first.len_utf8()
            }
            len => {
                out.extend(
                    rest[..len]
                        .chars()
                        .map(|c| if c == '\n' { '\n' } else { ' ' }),
                );
                len
            }
        };
        rest = &rest[skipped..];
    }
    out
}

/// Bytes of the comment or literal that `rest` begins with; 0 if it begins with code.
fn literal_len(rest: &str, in_word: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment_len(rest);
    }
    if let Some(raw) = rest
        .strip_prefix("br")
        .or_else(|| rest.strip_prefix('r'))
        .filter(|_| !in_word)
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = rest.len() - raw.len() + hashes + 1;
            return rest[start..]
                .find(&end)
                .map_or(rest.len(), |at| start + at + end.len());
        }
    }
    match rest.as_bytes() {
        [b'"', ..] => text_len(rest),
        [b'\'', b'\\', ..] => rest[2..]
            .find('\'')
            .map_or(rest.len(), |at| at + 3 + usize::from(at == 0)),
        [b'\'', ..] => {
            let mut chars = rest.char_indices().skip(1);
            let closes = chars.nth(1).filter(|(_, c)| *c == '\'');
            closes.map_or(0, |(at, _)| at + 1)
        }
        _ => 0,
    }
}

fn comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn text_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Where `word` stands in `code` as a word of its own.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(part) && !after.is_some_and(part)
        })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count()
}

/// The end of the block that begins at the first `{` from `at` on; none if a `;` comes first.
fn block_end(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut brackets = 0usize;
    for (offset, c) in code[at..].char_indices() {
        match c {
            ';' if depth == 0 && brackets == 0 => return None,
            '[' | '(' if depth == 0 => brackets += 1,
            ']' | ')' if depth == 0 => brackets = brackets.saturating_sub(1),
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + offset),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// `code` without what is compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = block_end(&out, at)
            .or_else(|| out[at..].find(';').map(|end| at + end))
            .unwrap_or(out.len() - 1);
        let blanked: String = out[at..=end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(at..=end, &blanked);
    }
    out
}

/// Files that a `#[cfg(test)] mod name;` makes part of tests only.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources {
        let folder = match source.path.strip_suffix("/mod.rs") {
            Some(folder) => folder.to_owned(),
            None => source.path.trim_end_matches(".rs").to_owned(),
        };
        let pieces = source.code.split("#[cfg(test)]").skip(1);
        for piece in pieces {
            let item = piece
                .trim_start()
                .trim_start_matches("pub(crate)")
                .trim_start();
            if let Some((name, _)) = item
                .strip_prefix("mod ")
                .and_then(|item| item.split_once(';'))
            {
                files.insert(format!("{folder}/{}.rs", name.trim()));
            }
        }
    }
    files
}

/// The rooms that `code` names by `crate::`.
fn imports(code: &str) -> Vec<(usize, String)> {
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let line = line_of(code, at);
        let rest = &code[at + path.len()..];
        if !rest.starts_with('{') {
            found.push((line, name(rest)));
            continue;
        }
        let Some(end) = block_end(rest, 0) else {
            continue;
        };
        let mut depth = 0usize;
        let top: String = rest[1..end]
            .chars()
            .filter(|c| {
                depth = depth + usize::from(*c == '{') - usize::from(*c == '}');
                depth == 0 && !c.is_whitespace()
            })
            .collect();
        found.extend(
            top.split(',')
                .map(|item| (line, name(item)))
                .filter(|(_, name)| !name.is_empty()),
        );
    }
    found
}

fn check_stairs(sources: &[Source]) -> Vec<String> {
    let tests = test_files(sources);
    let rooms: Vec<&str> = STAIRS.iter().map(|(room, _)| *room).collect();
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.room() != "lib" && !tests.contains(&source.path))
    {
        let Some((_, allowed)) = STAIRS.iter().find(|(room, _)| *room == source.room()) else {
            complaints.push(source.complain(
                0,
                format!("the room {:?} is not in the table", source.room()),
            ));
            continue;
        };
        for (line, import) in imports(&without_tests(&source.code)) {
            let known = rooms.contains(&import.as_str());
            if known && import != source.room() && !allowed.contains(&import.as_str()) {
                complaints.push(
                    source.complain(line, format!("{} must not import {import}", source.room())),
                );
            }
        }
    }
    complaints
}

fn check_sizes(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints
            .push(source.complain(0, format!("{lines} lines; {FILE_LINES_MAX} are the most")));
    }
    for at in words(&source.code, "fn") {
        let first = line_of(&source.code, at);
        let named = source.code[at + 2..]
            .trim_start()
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        let Some(end) = block_end(&source.code, at).filter(|_| named) else {
            continue;
        };
        let lines = line_of(&source.code, end) - first + 1;
        if lines > FUNCTION_LINES_MAX {
            complaints.push(source.complain(
                first,
                format!("a function of {lines} lines; {FUNCTION_LINES_MAX} are the most"),
            ));
        }
    }
    complaints
}

fn check_opening(source: &Source) -> Vec<String> {
    match source.text.starts_with("//! ") {
        true => Vec::new(),
        false => {
            vec![source.complain(0, "a file opens with `//!`: what it is, and what it is not")]
        }
    }
}

/// A door holds declarations only.
fn check_door(source: &Source) -> Vec<String> {
    if !source.is_door() {
        return Vec::new();
    }
    let logic = ["fn", "impl", "struct", "enum", "trait", "const", "static"];
    let found = logic
        .iter()
        .flat_map(|word| words(&source.code, word).map(move |at| (at, word)));
    let complain =
        |(at, word)| source.complain(line_of(&source.code, at), format!("`{word}` in a door"));
    found.map(complain).collect()
}

/// What must not stand in code, and where it may nevertheless.
fn check_banned(source: &Source) -> Vec<String> {
    let everywhere = ["todo!", "unimplemented!", "dbg!"].map(|word| (word, None));
    let printing = ["print!", "println!", "eprint!", "eprintln!"].map(|word| (word, Some("cmd")));
    let rooms = [("unsafe", Some("sys")), ("fuser", Some("fuse"))];
    let banned = everywhere.into_iter().chain(printing).chain(rooms);
    let banned = banned.filter(|(_, room)| *room != Some(source.room()));
    let found = banned.flat_map(|(word, room)| {
        let plain = word.trim_end_matches('!');
        let places = words(&source.code, plain)
            .filter(move |at| source.code[at + plain.len()..].starts_with(&word[plain.len()..]));
        places.map(move |at| (at, word, room))
    });
    let complain = |(at, word, room): (usize, &str, Option<&str>)| {
        let place = room.map_or(String::new(), |room| format!(" outside of {room}"));
        source.complain(line_of(&source.code, at), format!("`{word}`{place}"))
    };
    found.map(complain).collect()
}

fn check_blanks(path: &str, text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.ends_with([' ', '\t']));
    let mut complaints: Vec<String> = lines
        .map(|(line, _)| format!("{path}:{}: blanks at the end", line + 1))
        .collect();
    if !text.is_empty() && !text.ends_with('\n') {
        complaints.push(format!("{path}: the last line has no end"));
    }
    complaints
}

fn check_script(path: &str, text: &str, mode: u32) -> Vec<String> {
    let mut complaints = Vec::new();
    if mode & 0o111 != 0o111 {
        complaints.push(format!("{path}: a script that cannot be executed"));
    }
    if text.starts_with("#!")
        && text.lines().next().is_some_and(|line| line.contains("sh"))
        && !text.contains("\nset -eu")
    {
        complaints.push(format!("{path}: a shell script without `set -eu`"));
    }
    complaints
}

/// Every file below `folder` whose name ends so, relative to the project.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.to_string_lossy().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

fn sources(folder: &str) -> Vec<Source> {
    let read = |path: &PathBuf| Source::new(&relative(path), &fs::read_to_string(path).unwrap());
    files(folder, ".rs").iter().map(read).collect()
}

fn assert_tidy(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn rooms_import_only_what_is_below_them() {
    assert_tidy(&check_stairs(&sources("src")));
}

#[test]
fn stairs_go_one_way() {
    for (room, allowed) in STAIRS {
        for below in *allowed {
            let (_, back) = STAIRS.iter().find(|(name, _)| name == below).unwrap();
            assert!(!back.contains(room), "{room} and {below} import each other");
        }
    }
}

#[test]
fn sources_are_tidy() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        complaints.extend(check_sizes(source));
        complaints.extend(check_opening(source));
        complaints.extend(check_blanks(&source.path, &source.text));
    }
    for source in sources("src") {
        complaints.extend(check_door(&source));
        complaints.extend(check_banned(&source));
    }
    assert_tidy(&complaints);
}

#[test]
fn scripts_and_documents_are_tidy() {
    let mut complaints = Vec::new();
    for path in files("scripts", "").iter().chain(&files(".ci", "")) {
        let text = fs::read_to_string(path).unwrap();
        complaints.extend(check_script(
            &relative(path),
            &text,
            fs::metadata(path).unwrap().permissions().mode(),
        ));
        complaints.extend(check_blanks(&relative(path), &text));
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "deny.toml",
    ] {
        if let Ok(text) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)) {
            complaints.extend(check_blanks(name, &text));
        }
    }
    assert_tidy(&complaints);
}

/// Each rule finds what it is for: a rule that never complains holds nothing.
mod rules_bite {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path, text)
    }

    #[test]
    fn stairs() {
        let complaints = |path, text| check_stairs(&[source(path, text)]).len();
        assert_eq!(complaints("src/format/a.rs", "use crate::crypto::Key;"), 1);
        assert_eq!(
            complaints(
                "src/store/a.rs",
                "use crate::{\n    fs::Fs, format::{a, b}, fuse,\n};"
            ),
            2
        );
        assert_eq!(
            complaints(
                "src/crypto/a.rs",
                "use crate::format::A; // crate::fs\n\"crate::fs\""
            ),
            0
        );
        assert_eq!(
            complaints(
                "src/crypto/a.rs",
                "#[cfg(test)]\nmod tests { use crate::fs::Fs; }"
            ),
            0
        );
        assert_eq!(
            complaints(
                "src/crypto/a.rs",
                "#[cfg(test)]\nmod x;\nuse crate::fs::Fs;"
            ),
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
        assert_eq!(
            check_sizes(&source("src/a.rs", "trait T { fn f(); }")).len(),
            0
        );
    }

    #[test]
    fn openings_and_doors() {
        assert_eq!(check_opening(&source("src/a.rs", "use a;\n")).len(), 1);
        assert_eq!(
            check_opening(&source("src/a.rs", "//! What it is.\n")).len(),
            0
        );
        assert_eq!(
            check_door(&source("src/a/mod.rs", "mod b;\npub fn f() {}\n")).len(),
            1
        );
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
        assert_eq!(
            check_script("a", "#!/usr/bin/env bash\ntrue\n", 0o755).len(),
            1
        );
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
}
