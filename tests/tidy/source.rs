//! Source files as the rules see them: code apart from comments and texts, words, blocks. Not a parser of Rust: what
//! it does not understand it leaves alone.

use std::collections::BTreeSet;

/// A source file: its text, and its code, in which comments and literals are blanked out, line for line.
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// `src/store/commit.rs` is in `store`.
    pub fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    pub fn is_door(&self) -> bool {
        self.path.ends_with("/mod.rs")
    }

    pub fn complain(&self, line: usize, about: impl std::fmt::Display) -> String {
        format!("{}:{}: {about}", self.path, line + 1)
    }
}

/// Code without comments, texts and characters, which become blanks; line ends stay.
pub fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let skipped = match literal_len(rest, in_word) {
            0 => {
                out.push(first);
                first.len_utf8()
            }
            len => {
                out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
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
            return rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
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
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count()
}

/// The end of the block that begins at the first `{` from `at` on; none if a `;` comes first.
pub fn block_end(code: &str, at: usize) -> Option<usize> {
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
pub fn without_tests(code: &str) -> String {
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
pub fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources {
        let folder = match source.path.strip_suffix("/mod.rs") {
            Some(folder) => folder.to_owned(),
            None => source.path.trim_end_matches(".rs").to_owned(),
        };
        let pieces = source.code.split("#[cfg(test)]").skip(1);
        for piece in pieces {
            let item = piece.trim_start().trim_start_matches("pub(crate)").trim_start();
            if let Some((name, _)) = item.strip_prefix("mod ").and_then(|item| item.split_once(';')) {
                files.insert(format!("{folder}/{}.rs", name.trim()));
            }
        }
    }
    files
}
