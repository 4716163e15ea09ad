//! FORMAT.md as tables, numbers and quoted texts. What it does not find it does not pass over: it panics.

use std::fs;
use std::sync::LazyLock;

static FORMAT: LazyLock<String> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/format/FORMAT.md");
    fs::read_to_string(path).unwrap()
});

pub type Row = Vec<String>;

/// The rows of each table that has this heading.
pub fn tables(heading: &str) -> Vec<Vec<Row>> {
    let cells = |line: &str| -> Row {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let lines: Vec<&str> = FORMAT.lines().collect();
    let begins = (0..lines.len()).filter(|at| lines[*at] == heading);
    let rows = |at: usize| {
        lines[at + 2..]
            .iter()
            .take_while(|line| line.starts_with('|'))
            .map(|line| cells(line))
            .collect()
    };
    begins.map(rows).collect()
}

/// The only table that has this heading, which has so many rows.
pub fn table(heading: &str, rows: usize) -> Vec<Row> {
    let found = tables(heading);
    assert_eq!(found.len(), 1, "tables under {heading}");
    assert_eq!(found[0].len(), rows, "rows under {heading}");
    found[0].clone()
}

pub fn number(cell: &str) -> u64 {
    cell.parse().unwrap_or_else(|_| panic!("{cell:?} is no number"))
}

/// Every number in a text.
pub fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(number)
        .collect()
}

/// The first text in backquotes, with its escapes resolved.
pub fn quoted(cell: &str) -> Vec<u8> {
    let text = cell
        .split('`')
        .nth(1)
        .unwrap_or_else(|| panic!("{cell:?} quotes nothing"));
    text.replace("\\0", "\0").replace("\\x01", "\x01").into_bytes()
}

/// Whether the text says this, however its lines are broken.
pub fn says(what: &str) {
    let flat: Vec<&str> = FORMAT.split_whitespace().collect();
    assert!(flat.join(" ").contains(what), "FORMAT.md does not say {what:?}");
}

/// A structure as a table of offsets, lengths and fields describes it.
pub struct Layout(Vec<(usize, usize, String)>);

impl Layout {
    pub fn of(rows: &[Row], len: usize) -> Self {
        let mut next = 0;
        let mut fields = Vec::new();
        for row in rows {
            let (offset, length) = (number(&row[0]) as usize, number(&row[1]) as usize);
            assert_eq!(offset, next, "a gap before {:?}", row[2]);
            next += length;
            fields.push((offset, length, row[2].clone()));
        }
        assert_eq!(next, len, "all fields together");
        Self(fields)
    }

    pub fn range(&self, field: &str) -> std::ops::Range<usize> {
        let found: Vec<_> = self.0.iter().filter(|(.., name)| name.starts_with(field)).collect();
        assert_eq!(found.len(), 1, "fields {field:?}");
        found[0].0..found[0].0 + found[0].1
    }

    /// Bytes with these fields, each as long as the table says; what is not given is zero.
    pub fn bytes(&self, fields: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; self.0.iter().map(|(_, length, _)| length).sum()];
        for (field, value) in fields {
            bytes[self.range(field)].copy_from_slice(value);
        }
        let named = self.0.iter().filter(|(.., name)| !name.starts_with("zero")).count();
        assert_eq!(named, fields.len(), "fields that are not zero");
        bytes
    }

    /// The number behind the colon of a field.
    pub fn constant(&self, field: &str) -> Vec<u64> {
        let (.., text) = self.0.iter().find(|(.., name)| name.starts_with(field)).unwrap();
        numbers(text)
    }
}
