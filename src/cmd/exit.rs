//! The exit codes: one table, for the commands, for `--help` and for the documents. They are a contract.

use std::fmt::Write;
use std::process::ExitCode;

/// How a command ends. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// Something that should not happen.
    Internal = 1,
    /// The command line, the environment or the configuration file is wrong.
    Usage = 2,
    /// A path is missing or not fit.
    Path = 3,
    /// There is no volume.
    NotAVolume = 4,
    /// The volume is of a newer format.
    NewerFormat = 5,
    /// The directory is not empty.
    NotEmpty = 6,
    /// Mounted already, or in use.
    Busy = 7,
    /// Nothing is mounted there, or its daemon does not answer.
    NotMounted = 8,
    /// FUSE cannot be used.
    NoFuse = 9,
    /// Not allowed.
    Permission = 10,
    /// The key store cannot be used.
    KeyStore = 11,
    /// The passphrase is wrong or missing.
    Passphrase = 12,
    /// The master key is withheld.
    KeyDenied = 13,
    /// The KMS does not answer.
    KmsUnreachable = 14,
    /// The KMS refuses this request.
    KmsRefused = 15,
    /// What is stored is damaged or was edited.
    Damaged = 16,
    /// The disk is full, read-only or failing.
    Disk = 17,
}

impl Exit {
    /// Every code, with what it says.
    pub const TABLE: [(Exit, &'static str); 18] = [
        (Exit::Ok, "done"),
        (Exit::Internal, "something that should not happen"),
        (
            Exit::Usage,
            "the command line, the environment or the configuration file is wrong",
        ),
        (Exit::Path, "a path is missing, too long, or not what it should be"),
        (Exit::NotAVolume, "the directory is not a volume"),
        (Exit::NewerFormat, "the volume is of a newer format"),
        (Exit::NotEmpty, "the directory is not empty"),
        (Exit::Busy, "mounted already, or in use"),
        (
            Exit::NotMounted,
            "nothing is mounted there, or its daemon does not answer",
        ),
        (Exit::NoFuse, "FUSE cannot be used: no /dev/fuse, or no fusermount3"),
        (Exit::Permission, "not allowed"),
        (
            Exit::KeyStore,
            "the key store is missing, damaged, or of another volume",
        ),
        (Exit::Passphrase, "the passphrase is wrong or missing"),
        (
            Exit::KeyDenied,
            "the master key is disabled, to be deleted, gone, or its use is not permitted",
        ),
        (Exit::KmsUnreachable, "the KMS does not answer"),
        (Exit::KmsRefused, "the KMS refuses this request"),
        (Exit::Damaged, "what is stored is damaged or was edited"),
        (Exit::Disk, "the disk is full, read-only or failing"),
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit of a number, as another process told it.
    #[must_use]
    pub fn of_code(code: u8) -> Exit {
        let found = Exit::TABLE.iter().find(|(exit, _)| exit.code() == code);
        found.map_or(Exit::Internal, |(exit, _)| *exit)
    }

    /// The table as text, for `--help`.
    #[must_use]
    pub fn table_text() -> String {
        let mut text = String::from("Exit codes:\n");
        for (exit, meaning) in Exit::TABLE {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {:>2}  {meaning}", exit.code());
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_gaps_and_found_again() {
        for (number, (exit, _)) in Exit::TABLE.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
            assert_eq!(Exit::of_code(exit.code()), exit);
        }
        assert_eq!(Exit::of_code(200), Exit::Internal);
    }
}
