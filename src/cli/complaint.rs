//! clap's complaints about a command line, as the two lines that every error of kmsfs is.

use clap::Error;
use clap::error::ErrorKind;

/// What is wrong with a command line, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// One line: what, where, which.
    pub what: String,
    /// One line: what to do.
    pub help: String,
}

impl Complaint {
    /// The complaint in `error`; none if it is `--help` or `--version`, which are no errors.
    #[must_use]
    pub fn of(error: &Error) -> Option<Complaint> {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return None;
        }
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let what = "no command was given".into();
            return Some(Complaint {
                what,
                help: "`kmsfs --help` lists the commands".into(),
            });
        }
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n");
        let first = paragraphs.next().unwrap_or_default();
        let what = one_line(first.strip_prefix("error: ").unwrap_or(first));
        let tips: Vec<String> = paragraphs
            .flat_map(str::lines)
            .filter_map(|line| line.trim().strip_prefix("tip: ").map(one_line))
            .collect();
        let help = match tips.is_empty() {
            true => "--help behind a command shows what it takes".into(),
            false => tips.join("; "),
        };
        Some(Complaint { what, help })
    }
}

/// `text` on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    fn complaint(args: &[&str]) -> Option<Complaint> {
        let words = ["kmsfs"].iter().chain(args);
        Complaint::of(&Cli::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn complaints_are_two_lines() {
        for args in [
            &[][..],
            &["int"],
            &["init"],
            &["init", "d", "--chunk-size", "x"],
            &["mount", "--rea"],
        ] {
            let complaint = complaint(args).unwrap();
            for line in [&complaint.what, &complaint.help] {
                assert!(!line.is_empty() && !line.contains('\n'), "{complaint:?}");
            }
        }
        assert!(complaint(&["int"]).unwrap().help.contains("init"));
    }

    #[test]
    fn help_is_no_complaint() {
        assert_eq!(complaint(&["--help"]), None);
        assert_eq!(complaint(&["mount", "--version"]), None);
    }
}
