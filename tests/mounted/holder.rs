//! A program that holds a file open and mapped while its volume is locked, and says what it still sees.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PROGRAM: &str = r#"
import errno, mmap, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(fd, 0)

def in_child(work):
    # What a mapping does not give is a signal: it hits a child, which has the same mapping.
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "ok" if status == 0 else signal.Signals(-status).name

def peek():
    mapped[0:8]

def poke():
    mapped[8:9] = b"!"

def answer(command, argument):
    if command == "read":
        return os.pread(fd, 16, 0).decode()
    if command == "write":
        return str(os.pwrite(fd, argument.encode() * 4096, 0))
    if command == "sync":
        os.fsync(fd)
        return "ok"
    if command == "peek":
        return in_child(peek)
    if command == "poke":
        return in_child(poke)
    if command == "mapped":
        return mapped[0:16].decode()
    if command == "stat":
        return str(os.stat(argument).st_size)
    if command == "list":
        return " ".join(sorted(os.listdir(argument)))
    if command == "link":
        return os.readlink(argument)
    if command == "xattr":
        return os.getxattr(argument, "user.note").decode()
    if command == "cd":
        os.chdir(argument)
        return "ok"
    if command == "make":
        os.close(os.open(argument, os.O_CREAT | os.O_EXCL | os.O_RDWR))
        return "ok"

print("ready", flush=True)
for line in sys.stdin:
    command, _, argument = line.rstrip("\n").partition(" ")
    try:
        said = answer(command, argument)
    except OSError as error:
        said = errno.errorcode[error.errno]
    print(said, flush=True)
"#;

/// The program. It ends when this is dropped.
pub struct Holder {
    child: Child,
    ask: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Holder {
    /// Opens and maps `file`.
    pub fn of(file: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let ask = child.stdin.take();
        let mut holder = Self { child, ask, said };
        assert_eq!(holder.line(), "ready");
        holder
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Does `command`; answers with its result or with the name of its errno or signal.
    pub fn ask(&mut self, command: &str) -> String {
        writeln!(self.ask.as_ref().unwrap(), "{command}").unwrap();
        self.line()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.child.wait();
    }
}
