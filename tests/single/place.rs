//! A directory with a key store of its own, and the program run in it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

pub struct Place {
    dir: TempDir,
    cloud: Option<Cloud>,
}

/// The same key store behind Alibaba Cloud KMS's wire.
struct Cloud {
    server: Child,
    endpoint: String,
}

impl Cloud {
    fn serve(dir: &Path) -> Cloud {
        fs::write(dir.join("access-keys"), format!("{ACCESS_KEY} {SECRET}\n")).unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_kmsfs"))
            .args([
                "kms",
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--store",
                "state/cloud",
                "--access-keys",
                "access-keys",
            ])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let endpoint = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Cloud { server, endpoint }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const ACCESS_KEY: &str = "LTAI4testtesttesttesttes";
const SECRET: &str = "0123456789abcdefghijABCDEFGHIJ";

impl Place {
    /// With the key store and the guide's master key, `alias/Apollo/WorkKey`.
    pub fn new() -> Place {
        Place::of(tempfile::tempdir().unwrap(), None)
    }

    /// One on the embedded key store, and one on Alibaba Cloud KMS's wire.
    pub fn both() -> [Place; 2] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let cloud = Cloud::serve(dir.path());
        fs::remove_file(dir.path().join("access-keys")).unwrap();
        [Place::new(), Place::of(dir, Some(cloud))]
    }

    fn of(dir: TempDir, cloud: Option<Cloud>) -> Place {
        let place = Place { dir, cloud };
        place.ok(&["key", "create", "--alias", "alias/Apollo/WorkKey"]);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names in the directory, without the state's.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "state").collect();
        names.sort();
        names
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KMSFS_") {
                command.env_remove(name);
            }
        }
        command.env("KMSFS_STATE_DIR", self.path("state"));
        if let Some(cloud) = &self.cloud {
            command.env("KMSFS_KMS", "alibaba").env("KMSFS_REGION", "cn-hangzhou");
            command.env("KMSFS_ENDPOINT", &cloud.endpoint);
            // There no key is made unless somebody asks for one.
            command.env("KMSFS_KEY_ID", "alias/Apollo/WorkKey");
            command.env("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY);
            command.env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET);
        }
        command
    }

    /// Runs it; it must succeed. Gives what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        String::from_utf8(succeeded(words, self.command(words).output().unwrap())).unwrap()
    }

    /// Runs it with `input` on standard input; it must succeed.
    pub fn pipe(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = self.command(words);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        succeeded(words, child.wait_with_output().unwrap())
    }

    /// Runs it; it must fail with this code, in two lines. Gives them.
    pub fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.command(words).output().unwrap();
        failed(words, &output, code)
    }
}

/// The two lines of a failure with this code.
pub fn failed(words: &[&str], output: &Output, code: i32) -> String {
    let err = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {err}");
    assert!(
        lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("help: "),
        "{words:?}: {err:?}"
    );
    err
}

fn succeeded(words: &[&str], output: Output) -> Vec<u8> {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.is_empty(), "{words:?}: {err}");
    output.stdout
}

/// Bytes that do not repeat soon.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}
