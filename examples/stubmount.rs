//! STUB: mounts a backing with the stub volume.
#![allow(missing_docs, clippy::unwrap_used)]
use std::sync::Arc;
fn main() {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let a: Vec<_> = std::env::args().collect();
    let root = std::fs::File::open(&a[1]).unwrap().into();
    let volume = Arc::new(kmsfs::volume::Volume::stub(root, kmsfs::format::NodeId([5; 16])));
    let fs = Arc::new(kmsfs::fs::Fs::new(volume).unwrap());
    let options = kmsfs::fuse::MountOptions { allow_other: true, dev: true, suid: true, ..Default::default() };
    let session = kmsfs::fuse::Session::mount(fs, a[2].as_ref(), &options).unwrap();
    session.join().unwrap();
}
