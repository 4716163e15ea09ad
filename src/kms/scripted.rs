//! A KMS for tests: it counts calls, waits at a gate, and fails as it is told. Its wrapping is no protection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::uuid::random_uuid;
use super::{EncryptionContext, GeneratedKey, KeyMetadata, KeyState, Kms, KmsError};
use crate::crypto::Key;
use crate::format::WrappedKey;

/// The id of its one master key.
pub(crate) const MASTER_KEY: &str = "11111111-2222-4333-8444-555555555555";

/// The scripted KMS. All methods work while calls are under way in other threads.
#[derive(Default)]
pub(crate) struct ScriptedKms {
    generated: AtomicU64,
    decrypted: AtomicU64,
    script: Mutex<Script>,
    changed: Condvar,
}

#[derive(Default)]
struct Script {
    failure: Option<KmsError>,
    gate_closed: bool,
    panics: bool,
    waiting: usize,
    keys: HashMap<Vec<u8>, (Key, EncryptionContext)>,
}

impl ScriptedKms {
    pub(crate) fn new() -> ScriptedKms {
        ScriptedKms::default()
    }

    /// From now on each call fails with the error of this code; `None` lets them succeed again.
    pub(crate) fn fail(&self, code: Option<&'static str>) {
        self.script.lock().failure = code.map(|code| KmsError::new(code, "as the test says"));
    }

    /// From now on each unwrap panics, or does not any more.
    pub(crate) fn panic_at_decrypt(&self, panics: bool) {
        self.script.lock().panics = panics;
    }

    /// From now on each call waits for [`ScriptedKms::open_gate`].
    pub(crate) fn close_gate(&self) {
        self.script.lock().gate_closed = true;
    }

    /// Lets all calls through.
    pub(crate) fn open_gate(&self) {
        self.script.lock().gate_closed = false;
        self.changed.notify_all();
    }

    /// Returns when `calls` calls wait at the gate. They come within a minute, or never.
    pub(crate) fn await_waiting(&self, calls: usize) {
        let mut script = self.script.lock();
        while script.waiting < calls {
            let late = self.changed.wait_for(&mut script, Duration::from_secs(60)).timed_out();
            assert!(!late, "{} of {calls} calls wait at the gate", script.waiting);
        }
    }

    /// How many data keys were asked for.
    pub(crate) fn generated(&self) -> u64 {
        self.generated.load(Ordering::SeqCst)
    }

    /// How many unwraps were asked for.
    pub(crate) fn decrypted(&self) -> u64 {
        self.decrypted.load(Ordering::SeqCst)
    }

    /// What every call goes through.
    fn enter(&self, counter: Option<&AtomicU64>) -> Result<(), KmsError> {
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        let mut script = self.script.lock();
        script.waiting += 1;
        self.changed.notify_all();
        while script.gate_closed {
            self.changed.wait(&mut script);
        }
        script.waiting -= 1;
        let failure = script.failure.clone();
        drop(script);
        failure.map_or(Ok(()), |error| Err(error.at(self.describe())))
    }
}

impl Kms for ScriptedKms {
    fn describe(&self) -> String {
        "scripted KMS".to_owned()
    }

    fn generate_data_key(&self, _: &str, context: &EncryptionContext) -> Result<GeneratedKey, KmsError> {
        self.enter(Some(&self.generated))?;
        let (key, blob) = (Key::random(), random_uuid().into_bytes());
        let kept = (key.duplicate(), context.clone());
        self.script.lock().keys.insert(blob.clone(), kept);
        Ok(GeneratedKey {
            key,
            wrapped: WrappedKey {
                master_key: MASTER_KEY.to_owned(),
                blob,
            },
        })
    }

    fn decrypt(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError> {
        self.enter(Some(&self.decrypted))?;
        let script = self.script.lock();
        assert!(!script.panics, "the KMS panics as the test says");
        match script.keys.get(&wrapped.blob) {
            Some((key, made_for)) if made_for == context => Ok(key.duplicate()),
            _ => Err(KmsError::new(
                "InvalidParameter",
                "not a key of this KMS, or another context",
            )),
        }
    }

    fn describe_key(&self, key: &str) -> Result<KeyMetadata, KmsError> {
        self.enter(None)?;
        Ok(KeyMetadata {
            id: key.to_owned(),
            state: KeyState::Enabled,
            spec: "Aliyun_AES_256".to_owned(),
            usage: "ENCRYPT/DECRYPT".to_owned(),
            description: String::new(),
            created: 0,
            primary_version: None,
            last_rotation: None,
            delete_date: None,
            rotation: super::Rotation::default(),
        })
    }
}
