//! `kmsfs seal`: single files, without a mount.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::output::{self, Output};
use super::progress::{Progress, Stop};
use super::{Exit, Failure, kms_client, out};
use crate::cli::{FileFormat, SealArgs, Size};
use crate::config::{KmsSettings, Sources};
use crate::format::Geometry;
use crate::kms::KmsService;
use crate::seal::{self, New, SealError};

/// What sealed files are called by default, and what `unseal` takes away again.
pub const SUFFIX: &str = ".sealed";
/// As in the guide.
pub const GUIDE_SUFFIX: &str = ".cipher";
const DEFAULT_CHUNK: Size = Size(4096);

/// Does what `kmsfs seal` was told.
pub fn run(args: SealArgs, sources: &Sources) -> Result<(), Failure> {
    check_places(&args.files, args.output.output.as_deref())?;
    let geometry = geometry(args.chunk_size.unwrap_or(DEFAULT_CHUNK))?;
    let settings = KmsSettings::resolve(args.kms, sources)?;
    let stop = Stop::watch()?;
    let (kms, key) = kms_client::open_with_key(&settings, args.key_id, sources)?;
    let new = New {
        master_key: &key,
        geometry,
    };
    let suffix = match args.format {
        FileFormat::Kmsfs => SUFFIX,
        FileFormat::Guide => GUIDE_SUFFIX,
    };
    each(&args.files, |file| {
        let place = output::place(args.output.output.as_deref(), &output::with_suffix(file, suffix));
        let input = open(file)?;
        let output = Output::create(&place, mode_of(&input), args.output.force)?;
        let mut progress = progress(file, &input, &stop);
        let sealed = seal_one(&input, &output, args.format, &*kms, new, &mut progress);
        drop(progress);
        finish(file, sealed, output, &stop)
    })
}

/// Does `work` on each of the files. One that is not fit does not keep the others from it; what would fail with every
/// other file too ends it.
///
/// # Errors
/// The last failure; those before it are printed.
pub fn each(files: &[PathBuf], mut work: impl FnMut(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut last: Option<Failure> = None;
    for file in files {
        let Err(failure) = work(file) else { continue };
        let of_one = matches!(failure.exit(), Exit::Path | Exit::Usage | Exit::Damaged | Exit::Busy);
        if let Some(earlier) = last.replace(failure) {
            earlier.print();
        }
        if !of_one {
            break;
        }
    }
    last.map_or(Ok(()), Err)
}

fn seal_one(
    input: &File,
    output: &Output,
    format: FileFormat,
    kms: &dyn KmsService,
    new: New<'_>,
    progress: &mut Progress<'_>,
) -> Result<(), SealError> {
    let watch = &mut |bytes| progress.passed(bytes);
    match format {
        FileFormat::Kmsfs => {
            let sealed = output.file().try_clone().map_err(SealError::Output)?;
            seal::seal(input, &OwnedFd::from(sealed), kms, new, watch)
        }
        FileFormat::Guide => {
            let mut buffered = BufWriter::new(output.file());
            seal::seal_guide(&mut &*input, &mut buffered, kms, new.master_key, watch)?;
            buffered.flush().map_err(SealError::Output)
        }
    }
}

/// Several files need each a place of its own.
///
/// # Errors
/// `asked` is one place for all of them, or no file.
pub fn check_places(files: &[PathBuf], asked: Option<&Path>) -> Result<(), Failure> {
    match asked {
        Some(asked) if asked == Path::new("-") => {
            let what = "the result cannot go to standard output: it is believed only when it is whole";
            Err(Failure::new(Exit::Usage, what, "name a file with -o"))
        }
        Some(asked) if files.len() > 1 && !asked.is_dir() => {
            let what = format!(
                "{} is not a directory, and there are {} files",
                asked.display(),
                files.len()
            );
            Err(Failure::new(Exit::Usage, what, "name a directory with -o"))
        }
        _ => Ok(()),
    }
}

fn geometry(size: Size) -> Result<Geometry, Failure> {
    let geometry = u32::try_from(size.0).ok().and_then(Geometry::new);
    geometry.ok_or_else(|| {
        let what = format!("a chunk size of {} bytes is not possible", size.0);
        Failure::new(Exit::Usage, what, "the chunk size is a power of two from 4K to 1M")
    })
}

/// Opens a regular file for reading.
///
/// # Errors
/// It is none, or cannot be read.
pub fn open(path: &Path) -> Result<File, Failure> {
    // Not even opened if it is none: a pipe would wait for a writer.
    let facts = std::fs::metadata(path).map_err(|error| Failure::io("opening", path, &error))?;
    if !facts.is_file() {
        let what = format!("{} is not a regular file", path.display());
        let help = "name a file; a whole directory is protected by `kmsfs init` and `kmsfs mount`";
        return Err(Failure::new(Exit::Path, what, help));
    }
    File::open(path).map_err(|error| Failure::io("opening", path, &error))
}

/// The owner's part of a file's mode: nobody else is to read what comes out.
pub fn mode_of(file: &File) -> u32 {
    file.metadata()
        .map_or(0o600, |facts| facts.permissions().mode() & 0o600)
}

/// The progress of work on `input`.
pub fn progress<'a>(path: &Path, input: &File, stop: &'a Stop) -> Progress<'a> {
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    Progress::begin(name, input.metadata().map_or(0, |facts| facts.len()), stop)
}

/// Gives the output its name, or drops it and says why.
///
/// # Errors
/// `done`, as a failure of the work on `file`; or the output cannot be named.
pub fn finish(file: &Path, done: Result<(), SealError>, output: Output, stop: &Stop) -> Result<(), Failure> {
    let place = output.place().display().to_string();
    if let Err(error) = done {
        drop(output);
        stop.end_if_asked();
        return Err(Failure::seal(file, error));
    }
    output.finish()?;
    out::line(&place)
}
