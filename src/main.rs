//! The `kmsfs` program: run the command, print why it failed, exit with its code. All else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match kmsfs::cmd::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code.into()
        }
    }
}
