//! A KMS behind Alibaba Cloud's wire, as a process of its own that can be killed and started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::harness::{KMSFS, Vault};

/// The access key of all tests.
pub const ACCESS_KEY: &str = "testid";
/// Its secret.
pub const SECRET: &str = "the-secret-of-the-access-key";

/// The emulator. It ends with the test.
pub struct Emulator {
    store: PathBuf,
    access_keys: PathBuf,
    process: Option<Child>,
    address: String,
    admin: String,
}

impl Emulator {
    /// Starts one for `vault`, whose commands know the access key from then on.
    pub fn start(vault: &mut Vault) -> Self {
        let access_keys = vault.aside("access-keys");
        std::fs::write(&access_keys, format!("{ACCESS_KEY} {SECRET}\n")).unwrap();
        vault.set("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY);
        vault.set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET);
        vault.set("KMSFS_KMS", "alibaba");
        let mut emulator = Self {
            store: vault.aside("emulator"),
            access_keys,
            process: None,
            address: "127.0.0.1:0".to_owned(),
            admin: String::new(),
        };
        emulator.revive();
        emulator
    }

    /// Starts it again, where it was.
    pub fn revive(&mut self) {
        let mut command = Command::new(KMSFS);
        command.args(["kms", "serve", "--listen", &self.address, "--admin", "127.0.0.1:0"]);
        command
            .arg("--store")
            .arg(&self.store)
            .arg("--access-keys")
            .arg(&self.access_keys);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut after = |words: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(words).unwrap().to_owned()
        };
        self.address = after("listening on http://");
        self.admin = after("admin on http://");
        self.process = Some(process);
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// The file with its master keys.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Its address as `--endpoint` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Orders faults, as JSON.
    pub fn faults(&self, json: &str) {
        self.admin("PUT", "/faults", json);
    }

    /// How often `action` was asked for since it was started.
    pub fn calls(&self, action: &str) -> u64 {
        let counters: serde_json::Value = serde_json::from_str(&self.admin("GET", "/calls", "")).unwrap();
        counters["calls"][action].as_u64().unwrap_or(0)
    }

    fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        let (admin, length) = (&self.admin, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
    }
}
