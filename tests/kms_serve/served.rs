//! A running emulator and what one asks of it. It is ended when the test ends, however that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kmsfs::kms::signature::{Parameters, Rpc1};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const KEYS: &str = "testid testsecret\nSTS.testid stssecret CAIStest+token/== # of a role\n";

/// Nothing here takes as long; a test that hangs shall say where.
const PATIENCE: Duration = Duration::from_secs(60);

static NONCE: AtomicU64 = AtomicU64::new(0);

pub struct Served {
    child: Child,
    pub kms: SocketAddr,
    pub admin: SocketAddr,
}

/// The command on a store in `dir`.
pub fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KMSFS_") {
            command.env_remove(name);
        }
    }
    command.args(["kms", "serve"]).args(words).current_dir(dir);
    command.env("KMSFS_STATE_DIR", dir.join("state")).stdin(Stdio::null());
    command
}

fn serve(dir: &Path) -> Command {
    std::fs::write(dir.join("keys"), KEYS).unwrap();
    let any = "127.0.0.1:0";
    let words = [
        "--listen",
        any,
        "--admin",
        any,
        "--store",
        "store",
        "--access-keys",
        "keys",
    ];
    let mut command = command(dir, &words);
    command.stdout(Stdio::piped());
    command
}

fn address(line: &str, before: &str) -> SocketAddr {
    let address = line.strip_prefix(before).unwrap_or_else(|| panic!("{line:?}"));
    address.trim_end().parse().unwrap()
}

impl Served {
    /// Serves the store in `dir`.
    pub fn start(dir: &Path) -> Served {
        Served::of(serve(dir).spawn().unwrap())
    }

    /// As [`Served::start`]; all that can be logged is, and comes back when it has ended.
    pub fn start_logging(dir: &Path) -> (Served, JoinHandle<String>) {
        let mut command = serve(dir);
        command.env("KMSFS_LOG_LEVEL", "trace").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            text
        });
        (Served::of(child), log)
    }

    fn of(mut child: Child) -> Served {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().expect("the server ended early").unwrap();
        let kms = address(&next(), "listening on http://");
        let admin = address(&next(), "admin on http://");
        Served { child, kms, admin }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// Ends it without asking.
    pub fn kill(&self) {
        kill_process(self.pid(), Signal::KILL).unwrap();
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.kms).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and reads until the connection ends.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // It may answer and hang up before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Calls an action: status and answer.
    pub fn call(&self, action: &str, arguments: &[(&str, &str)]) -> (u16, Value) {
        parse(&self.raw(get(&signed("GET", action, arguments).canonical()).as_bytes()))
    }

    /// The answer of a call that succeeds.
    pub fn good(&self, action: &str, arguments: &[(&str, &str)]) -> Value {
        let (status, answer) = self.call(action, arguments);
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    /// A new key's id.
    pub fn new_key(&self) -> String {
        self.good("CreateKey", &[])["KeyMetadata"]["KeyId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Asks the admin endpoint: status and answer.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream
            .write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        parse(&answer)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The signed parameters of a call.
pub fn signed(method: &str, action: &str, arguments: &[(&str, &str)]) -> Parameters {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let nonce = format!("{}-{}", std::process::id(), NONCE.fetch_add(1, Ordering::SeqCst));
    let common = [
        ("AccessKeyId", "testid"),
        ("Action", action),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &time),
        ("Version", "2016-01-20"),
    ];
    let mut parameters: Parameters = common.into_iter().chain(arguments.iter().copied()).collect();
    let signature = Rpc1::new(method, &parameters).sign("testsecret");
    parameters.set("Signature", signature);
    parameters
}

/// A whole request by GET.
pub fn get(query: &str) -> String {
    format!("GET /?{query} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
}

/// Status and JSON of an answer.
pub fn parse(answer: &[u8]) -> (u16, Value) {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = status(head.as_bytes());
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// The status of an answer; 0 if there is none.
pub fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    let code = text.split(' ').nth(1).unwrap_or_default();
    code.parse().unwrap_or(0)
}
