//! `kmsfs kms serve`: the embedded key store behind Alibaba Cloud KMS's own wire protocol, for development and tests.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::log::{self, Target};
use super::{Exit, Failure, fence, keystore, out};
use crate::cli::{KmsArgs, KmsCommand, KmsName, KmsOptions, KmsServeArgs};
use crate::config::{KmsSettings, Sources};
use crate::kms::emulator::{AccessKeyError, AccessKeys, Emulator, Listeners};
use crate::sys::limits;

/// Does what `kmsfs kms …` was told.
pub fn run(args: KmsArgs, sources: &Sources) -> Result<(), Failure> {
    match args.command {
        KmsCommand::Serve(args) => serve(args, sources),
    }
}

fn serve(args: KmsServeArgs, sources: &Sources) -> Result<(), Failure> {
    check_region(&args.region)?;
    log::start(Target::Stderr)?;
    #[allow(clippy::needless_update)] // What else there is concerns other KMSs.
    let options = KmsOptions {
        kms: Some(KmsName::Local),
        key_store: Some(args.store),
        passphrase_file: args.passphrase_file,
        ..KmsOptions::default()
    };
    let settings = KmsSettings::resolve(options, sources)?;
    let store = keystore::open_or_create(&settings)?;
    let keys = access_keys(args.access_keys.as_deref(), &settings.key_store)?;
    fence::keep_out_of_dumps();
    limits::raise_descriptors();
    let listeners = Listeners::bind(args.listen, args.admin).map_err(not_bound)?;
    let stopped = stopped()?;
    let internal = |error: io::Error| Failure::internal(format!("the emulator cannot serve: {error}"));
    out::line(&format!("listening on http://{}", listeners.kms().map_err(internal)?))?;
    if let Some(address) = listeners.admin().map_err(internal)? {
        out::line(&format!("admin on http://{address}"))?;
    }
    let emulator = Emulator::new(store, keys, &args.region);
    listeners.serve(emulator, stopped).map_err(internal)
}

fn not_bound((address, error): (SocketAddr, io::Error)) -> Failure {
    let what = format!("{address} cannot be listened on: {}", super::failure::reason(&error));
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Permission,
        _ => Exit::Busy,
    };
    Failure::new(exit, what, "choose another port; 0 takes one that is free")
}

/// Ready when somebody wants it to end. From the call on, no signal is missed.
fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::internal(format!("signals cannot be waited for: {error}")))?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        signals.forever().next();
        // Nobody waits any more only when it has ended already.
        let _ = stop.send(());
    });
    Ok(async {
        let _ = stopped.await;
    })
}

/// The access keys, by default in a file beside the store.
fn access_keys(named: Option<&Path>, store: &Path) -> Result<AccessKeys, Failure> {
    let keys = match named {
        Some(path) => AccessKeys::read(path),
        None => {
            let mut name = OsString::from(store);
            name.push(".access-keys");
            AccessKeys::read_or_create(Path::new(&name))
        }
    };
    keys.map_err(|error| match error {
        AccessKeyError::Io { path, source } => Failure::io("reading the access keys in", &path, &source),
        AccessKeyError::Line { .. } => Failure::new(
            Exit::Usage,
            error.to_string(),
            "write a line for each access key: ID SECRET [SECURITY-TOKEN]",
        ),
    })
}

fn check_region(region: &str) -> Result<(), Failure> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !region.is_empty() && region.len() <= 64 && region.bytes().all(good) {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Usage,
            format!("{region:?} is not the name of a region"),
            "name one as cn-hangzhou is named",
        )),
    }
}
