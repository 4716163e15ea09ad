//! `kmsfs encrypt` and `kmsfs decrypt`: small texts, online with the master key. What is written is the CiphertextBlob
//! as the KMS gives it, without a newline, as in chapter 2 of the KMS best-practice guide.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::output::{self, Output};
use super::{Exit, Failure, kms_client};
use crate::cli::{ContextPair, DecryptArgs, EncryptArgs, OutputArgs};
use crate::config::{KmsSettings, Sources};
use crate::kms::EncryptionContext;
use crate::kms::blob::PLAINTEXT_MAX;

const SUFFIX: &str = ".cipher";
/// Most bytes of an encrypted text: the longest plain one in base64 takes about 8 KB, white space not counted.
const CIPHER_MAX: usize = 64 << 10;

/// Does what `kmsfs encrypt` was told.
pub fn encrypt(args: EncryptArgs, sources: &Sources) -> Result<(), Failure> {
    let input = Input::of(args.file.as_deref());
    let text = input.read(PLAINTEXT_MAX)?;
    let help = "`kmsfs seal FILE` takes files of any size and content; to encrypt binary data online, give its base64";
    let refused = |why: String| Failure::new(Exit::Path, format!("{}: {why}", input.name()), help);
    if text.is_empty() || text.len() > PLAINTEXT_MAX {
        let what = match text.len() {
            0 => "it is empty".to_owned(),
            _ => "it is too long".to_owned(),
        };
        return Err(refused(format!(
            "{what}; 1 to {PLAINTEXT_MAX} bytes can be encrypted online"
        )));
    }
    let text = std::str::from_utf8(&text)
        .map_err(|error| refused(format!("it is not text: no UTF-8 at offset {}", error.valid_up_to())))?;
    let settings = KmsSettings::resolve(args.kms, sources)?;
    let (kms, key) = kms_client::open_with_key(&settings, args.key_id, sources)?;
    let encrypted = kms.encrypt_text(&key, &context(args.context), text)?;
    let default = |file: &Path| output::with_suffix(file, SUFFIX);
    input.put(encrypted.data.as_bytes(), &args.output, default)
}

/// Does what `kmsfs decrypt` was told.
pub fn decrypt(args: DecryptArgs, sources: &Sources) -> Result<(), Failure> {
    let input = Input::of(args.file.as_deref());
    let bytes = input.read(CIPHER_MAX)?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= CIPHER_MAX);
    // White space that editors and mail add means nothing in base64.
    let blob: Option<String> = text.map(|text| text.split_ascii_whitespace().collect());
    let Some(blob) = blob.filter(|blob| !blob.is_empty()) else {
        let what = format!("{}: it is not a text that `kmsfs encrypt` has made", input.name());
        let help = "`kmsfs unseal` opens files that `kmsfs seal` has made, and stored files of a volume";
        return Err(Failure::new(Exit::Damaged, what, help));
    };
    let kms = kms_client::open(&KmsSettings::resolve(args.kms, sources)?)?;
    let decrypted = kms.decrypt_text(&blob, &context(args.context))?;
    let default =
        |file: &Path| output::without_suffix(file, SUFFIX).unwrap_or_else(|| output::with_suffix(file, ".plain"));
    input.put(decrypted.data.as_bytes(), &args.output, default)
}

fn context(pairs: Vec<ContextPair>) -> EncryptionContext {
    pairs.into_iter().map(|ContextPair(key, value)| (key, value)).collect()
}

/// Where the text comes from, which also decides where the result goes.
enum Input {
    Standard,
    File(PathBuf),
}

impl Input {
    fn of(file: Option<&Path>) -> Input {
        match file {
            None => Input::Standard,
            Some(file) if file == Path::new("-") => Input::Standard,
            Some(file) => Input::File(file.to_owned()),
        }
    }

    fn name(&self) -> String {
        match self {
            Input::Standard => "standard input".into(),
            Input::File(file) => file.display().to_string(),
        }
    }

    /// Everything, or one byte more than `most`.
    fn read(&self, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // As long as it can become, so that it does not move and leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
        let bound = most as u64 + 1;
        match self {
            Input::Standard => io::stdin().take(bound).read_to_end(&mut bytes),
            Input::File(file) => File::open(file).and_then(|file| file.take(bound).read_to_end(&mut bytes)),
        }
        .map_err(|error| Failure::io("reading", Path::new(&self.name()), &error))?;
        Ok(bytes)
    }

    /// The mode of the result: the owner's part of the input's.
    fn mode(&self) -> u32 {
        let facts = match self {
            Input::Standard => None,
            Input::File(file) => std::fs::metadata(file).ok(),
        };
        facts.map_or(0o600, |facts| facts.permissions().mode() & 0o600)
    }

    /// Puts the result where `-o` says, or beside a file that was named, or else on standard output.
    fn put(&self, bytes: &[u8], asked: &OutputArgs, default: impl Fn(&Path) -> PathBuf) -> Result<(), Failure> {
        let to_standard = |asked: &Path| asked == Path::new("-");
        let place = match (self, asked.output.as_deref()) {
            (_, Some(asked)) if to_standard(asked) => return to_standard_output(bytes),
            (Input::Standard, None) => return to_standard_output(bytes),
            (Input::Standard, Some(asked)) => asked.to_owned(),
            (Input::File(file), asked) => output::place(asked, &default(file)),
        };
        let output = Output::create(&place, self.mode(), asked.force)?;
        let written = (&mut output.file()).write_all(bytes);
        written.map_err(|error| Failure::io("writing", &place, &error))?;
        output.finish()
    }
}

fn to_standard_output(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::io("writing to", Path::new("standard output"), &error))
}
