//! Both official Python SDKs, in every way in which they sign, against the real server. They are installed from PyPI
//! once; `KMSFS_REQUIRE_SDK=1` makes that a duty.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::served::Served;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kms_serve/sdk");

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

/// The Python of an environment with the SDKs, made on first use. A half-made one is never taken for a whole.
fn python() -> Result<PathBuf, String> {
    let wanted = std::fs::read_to_string(Path::new(SCRIPTS).join("requirements.txt")).unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kms-sdk");
    let (python, stamp) = (place.join("bin/python"), place.join("requirements.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(&python)
        .args(pip)
        .arg(Path::new(SCRIPTS).join("requirements.txt")))?;
    std::fs::write(&stamp, wanted).unwrap();
    Ok(python)
}

#[test]
fn official_sdks() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            assert_ne!(
                std::env::var("KMSFS_REQUIRE_SDK").as_deref(),
                Ok("1"),
                "the SDKs: {why}"
            );
            eprintln!("skipped: the official SDKs cannot be installed: {why}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let output = Command::new(python)
        .arg("-B")
        .arg(Path::new(SCRIPTS).join("drive.py"))
        .args([served.kms.to_string(), served.admin.to_string()])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    println!("{}", out.lines().last().unwrap_or_default());
    assert!(served.stop().success());
}
