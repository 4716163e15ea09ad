//! A server for tests: it reads requests, remembers them, and answers as it is told, or worse. It knows nothing of the
//! client's code but the signatures.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::kms::signature::{Acs3, Headers, Parameters, Request, Rpc1, body_hash};

/// The secret of every access key in tests.
pub(crate) const SECRET: &str = "testsecret";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub query: Parameters,
    pub headers: Headers,
    pub body: String,
}

impl Seen {
    /// The action, in either style.
    pub fn action(&self) -> &str {
        let action = self.headers.get("x-acs-action").or_else(|| self.query.get("Action"));
        action.unwrap_or_default()
    }

    /// A parameter, or an empty text.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or_default()
    }

    /// Whether the signature is right, of whichever version it is.
    pub fn is_signed(&self) -> bool {
        let Some(authorization) = self.headers.get("authorization") else {
            return Rpc1::new(&self.method, &self.query).verify(SECRET, self.parameter("Signature"));
        };
        let part = |name: &str| {
            authorization
                .split([',', ' '])
                .find_map(|part| part.strip_prefix(name))
                .unwrap()
        };
        let names: Vec<&str> = part("SignedHeaders=").split(';').collect();
        let hash = body_hash(self.body.as_bytes());
        let request = Request {
            method: &self.method,
            query: &self.query,
            headers: &self.headers,
            body_hash: &hash,
        };
        let all = self
            .headers
            .names()
            .filter(|name| *name == "host" || name.starts_with("x-acs-"));
        all.into_iter().all(|name| names.contains(&name))
            && Acs3::over(request, &names).verify(SECRET, part("Signature="))
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// An answer in JSON.
    Json(u16, String),
    /// An answer with a header.
    With(u16, &'static str, String, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then again and again this byte after a pause, until the other side has enough.
    Drip(Vec<u8>, u8, Duration),
    /// Nothing at all, until the other side has enough.
    Silence,
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The server. It ends when it is dropped.
pub(crate) struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        Server::start_at(0, handler)
    }

    pub fn start_at(port: u16, handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, stop) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let (handler, all, ended) = (
            Arc::<Handler>::from(Box::new(handler) as Box<Handler>),
            seen.clone(),
            stop.clone(),
        );
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, all, ended) = (handler.clone(), all.clone(), ended.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*handler, &all, &ended));
            }
        });
        Server {
            port,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which listens no more then.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(mut stream: TcpStream, handler: &Handler, all: &Mutex<Vec<Seen>>, stop: &AtomicBool) {
    let Some(seen) = read(&mut stream) else { return };
    all.lock().push(seen.clone());
    // The other side may have gone; that is its right.
    let _ = answer(&mut stream, handler(&seen), stop);
    let _ = stream.shutdown(Shutdown::Write);
}

fn answer(stream: &mut TcpStream, reply: Reply, stop: &AtomicBool) -> std::io::Result<()> {
    let written = |status: u16, header: &str, body: &str| {
        format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{header}\r\n{body}",
            body.len()
        )
    };
    match reply {
        Reply::Json(status, body) => stream.write_all(written(status, "", &body).as_bytes()),
        Reply::With(status, name, value, body) => {
            stream.write_all(written(status, &format!("{name}: {value}\r\n"), &body).as_bytes())
        }
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Drip(bytes, byte, pause) => {
            stream.write_all(&bytes)?;
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(pause);
                stream.write_all(&[byte])?;
            }
            Ok(())
        }
        Reply::Silence => {
            // Ends with the other side's end of the connection.
            let mut byte = [0];
            stream.read(&mut byte).map(drop)
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Headers = lines.filter_map(|line| line.split_once(':')).collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Seen {
        method,
        path: path.to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
