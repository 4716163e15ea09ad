//! The house rules that the compiler does not hold: who may import whom, how long a file and a function may be, what
//! must not stand where. Each rule is a function from sources to complaints, and each is tested on a bad sample.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use source::{Source, block_end, line_of, test_files, without_tests, words};

mod rules_bite;
mod source;

/// Who may import whom; ARCHITECTURE.md says what lives in each room. Stairs go one way, from the ground up.
const STAIRS: &[(&str, &[&str])] = &[
    ("format", &[]),
    ("sys", &[]),
    ("crypto", &["format", "sys"]),
    ("kms", &["crypto", "format"]),
    ("keys", &["kms", "crypto", "format", "sys"]),
    ("store", &["format", "crypto", "sys"]),
    ("volume", &["format", "crypto", "kms", "keys", "store", "sys"]),
    ("names", &["format", "crypto", "sys"]),
    ("seal", &["format", "crypto", "kms", "store", "volume", "names"]),
    (
        "fs",
        &["format", "crypto", "kms", "keys", "store", "volume", "names", "sys"],
    ),
    ("fuse", &["fs", "sys"]),
    ("control", &["fs", "keys"]),
    ("cli", &[]),
    ("config", &["cli", "format", "fuse", "keys", "store"]),
    (
        "cmd",
        &[
            "cli", "config", "control", "crypto", "format", "fs", "fuse", "keys", "kms", "names", "seal", "store",
            "sys", "volume",
        ],
    ),
    ("main", &["cmd"]),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// The rooms that `code` names by `crate::`.
fn imports(code: &str) -> Vec<(usize, String)> {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
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
            complaints.push(source.complain(0, format!("the room {:?} is not in the table", source.room())));
            continue;
        };
        for (line, import) in imports(&without_tests(&source.code)) {
            let known = rooms.contains(&import.as_str());
            if known && import != source.room() && !allowed.contains(&import.as_str()) {
                complaints.push(source.complain(line, format!("{} must not import {import}", source.room())));
            }
        }
    }
    complaints
}

fn check_sizes(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(source.complain(0, format!("{lines} lines; {FILE_LINES_MAX} are the most")));
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
    let complain = |(at, word)| source.complain(line_of(&source.code, at), format!("`{word}` in a door"));
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
    let lines = text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t']));
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
