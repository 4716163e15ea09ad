//! `kmsfs unseal`: single files, sealed by `kmsfs seal` or taken from a volume, without a mount.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mounts::canonical;
use super::output::{self, Output};
use super::progress::{Progress, Stop};
use super::seal::{GUIDE_SUFFIX, SUFFIX, check_places, each, finish, mode_of, open, progress};
use super::{Exit, Failure, kms_client};
use crate::cli::{FileFormat, OutputArgs, UnsealArgs};
use crate::config::{KmsSettings, Sources};
use crate::kms::KmsService;
use crate::seal::{self, Backing, SealError};

/// Does what `kmsfs unseal` was told.
pub fn run(args: UnsealArgs, sources: &Sources) -> Result<(), Failure> {
    check_places(&args.files, args.output.output.as_deref())?;
    let stop = Stop::watch()?;
    let mut keys = Keys {
        settings: KmsSettings::resolve(args.kms, sources)?,
        outside: None,
        volumes: HashMap::new(),
    };
    each(&args.files, |file| {
        unseal_file(file, args.format, &args.output, &mut keys, &stop)
    })
}

fn unseal_file(
    file: &Path,
    format: FileFormat,
    asked: &OutputArgs,
    keys: &mut Keys,
    stop: &Stop,
) -> Result<(), Failure> {
    let path = canonical(file)?;
    let input = open(&path)?;
    let around = match format {
        FileFormat::Kmsfs => seal::volume_around(&path),
        FileFormat::Guide => None,
    };
    let (kms, backing) = keys.of(around.as_deref())?;
    let default = default_name(file, &path, format, backing)?;
    let place = match (asked.output.as_deref(), default) {
        (asked, Some(default)) => output::place(asked, &default),
        (Some(asked), None) if !asked.is_dir() => asked.to_owned(),
        (_, None) => return Err(nameless(file)),
    };
    check_outside(&place, around.as_deref())?;
    let output = Output::create(&place, mode_of(&input), asked.force)?;
    let mut progress = progress(file, &input, stop);
    let unsealed = match format {
        FileFormat::Kmsfs => unseal_one(&path, input, &output, backing, &*kms, &mut progress),
        FileFormat::Guide => unseal_guide(&input, &output, &*kms, &mut progress),
    };
    drop(progress);
    finish(file, unsealed, output, stop)
}

fn unseal_one(
    path: &Path,
    input: File,
    output: &Output,
    backing: Option<&Backing>,
    kms: &dyn KmsService,
    progress: &mut Progress<'_>,
) -> Result<(), SealError> {
    let watch = &mut |bytes| progress.passed(bytes);
    seal::unseal(path, OwnedFd::from(input), output.file(), backing, kms, watch)
}

fn unseal_guide(
    input: &File,
    output: &Output,
    kms: &dyn KmsService,
    progress: &mut Progress<'_>,
) -> Result<(), SealError> {
    let watch = &mut |bytes| progress.passed(bytes);
    let mut buffered = BufWriter::new(output.file());
    seal::unseal_guide(&mut BufReader::with_capacity(1 << 18, input), &mut buffered, kms, watch)?;
    buffered.flush().map_err(SealError::Output)
}

/// The KMS of files outside of volumes, and the volumes that were met: each is opened once.
struct Keys {
    settings: KmsSettings,
    outside: Option<Arc<dyn KmsService>>,
    volumes: HashMap<PathBuf, (Arc<dyn KmsService>, Backing)>,
}

impl Keys {
    fn of(&mut self, around: Option<&Path>) -> Result<(Arc<dyn KmsService>, Option<&Backing>), Failure> {
        let Some(dir) = around else {
            let kms = match &self.outside {
                Some(kms) => Arc::clone(kms),
                None => kms_client::open(&self.settings)?,
            };
            self.outside = Some(Arc::clone(&kms));
            return Ok((kms, None));
        };
        if !self.volumes.contains_key(dir) {
            let failed = |error| Failure::seal(dir, error);
            let claims = Backing::claims(dir).map_err(failed)?;
            let kms = kms_client::of_volume(&self.settings, dir, &claims.descriptor)?;
            let backing = Backing::open(dir, &*kms).map_err(failed)?;
            self.volumes.insert(dir.to_owned(), (kms, backing));
        }
        match self.volumes.get(dir) {
            Some((kms, backing)) => Ok((Arc::clone(kms), Some(backing))),
            None => Err(Failure::internal("a volume that was opened is not there")),
        }
    }
}

/// Where the result goes if `-o` does not say: a stored file's plain name, here and not in the volume's directory;
/// beside any other file, without the ending that `seal` gave it.
fn default_name(
    file: &Path,
    path: &Path,
    format: FileFormat,
    backing: Option<&Backing>,
) -> Result<Option<PathBuf>, Failure> {
    let suffix = match format {
        FileFormat::Kmsfs => SUFFIX,
        FileFormat::Guide => GUIDE_SUFFIX,
    };
    match backing {
        Some(backing) => backing.plain_name(path).map_err(|error| Failure::seal(file, error)),
        None => Ok(output::without_suffix(file, suffix)),
    }
}

/// Plain text does not belong into the directory of a volume.
fn check_outside(place: &Path, around: Option<&Path>) -> Result<(), Failure> {
    let parent = match place.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let inside = around.is_some_and(|dir| parent.canonicalize().is_ok_and(|parent| parent.starts_with(dir)));
    match inside {
        false => Ok(()),
        true => {
            let what = format!(
                "{} would lie, readable, in the directory of the volume",
                place.display()
            );
            Err(Failure::new(
                Exit::Path,
                what,
                "change to another directory, or name a place with -o",
            ))
        }
    }
}

fn nameless(file: &Path) -> Failure {
    let what = format!("what {} holds has no name that could be known", file.display());
    let help = "name a file with -o; plain names are known in the directory of their volume only, beside kmsfs.volume";
    Failure::new(Exit::Usage, what, help)
}
