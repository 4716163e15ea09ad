//! Standard output. A reader that has gone away, as `head` does, is no error.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::{Exit, Failure};

/// Prints `text` and a line's end.
///
/// # Errors
/// Standard output takes no more, for another reason than that its reader has gone.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let what = format!("standard output cannot be written: {error}");
            Err(Failure::new(Exit::Disk, what, "see where the output goes"))
        }
        _ => Ok(()),
    }
}

/// Prints `value` as JSON, for programs and still readable.
///
/// # Errors
/// As [`line`].
pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => Err(Failure::internal(format!("the answer is not JSON: {error}"))),
    }
}

/// Prints rows under a heading, each column as wide as it needs.
///
/// # Errors
/// As [`line`].
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let print = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    print(heading)?;
    rows.iter()
        .try_for_each(|row| print(row.each_ref().map(String::as_str)))
}
