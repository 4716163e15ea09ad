//! An emulator with a clock that a test sets, and requests to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::kms::emulator::access_keys::AccessKeys;
use crate::kms::emulator::faults::Faults;
use crate::kms::emulator::{Emulator, Received};
use crate::kms::local::{LocalStore, Root};
use crate::kms::signature::{Headers, Parameters, Rpc1};
use crate::kms::{Clock, KmsAdmin, NewKey};

pub(super) const ALIAS: &str = "alias/Apollo/WorkKey";

pub(super) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn unix(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.unix().unsigned_abs())
    }
}

pub(super) struct Scene {
    pub emulator: Emulator,
    pub clock: Arc<TestClock>,
    /// The key that [`ALIAS`] names.
    pub key: String,
    nonce: AtomicU64,
    _dir: tempfile::TempDir,
}

impl Scene {
    /// At `time`, with these access keys.
    pub(super) fn new(time: &str, keys: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(0)));
        let root = Root::File(dir.path().join("root"));
        let store = LocalStore::create_with(&dir.path().join("store"), &root, clock.clone()).unwrap();
        let key = store.create_key(&NewKey::default()).unwrap().id;
        store.create_alias(ALIAS, &key).unwrap();
        let keys = AccessKeys::parse(keys).unwrap_or_else(|(line, why)| panic!("{line}: {why}"));
        let emulator = Emulator::with_clock(store, keys, "cn-hangzhou", clock.clone());
        let scene = Scene {
            emulator,
            clock,
            key,
            nonce: 0.into(),
            _dir: dir,
        };
        scene.at(time);
        scene
    }

    /// One access key, in 2026.
    pub(super) fn simple() -> Scene {
        Scene::new("2026-11-24T00:00:00Z", "testid testsecret\n")
    }

    pub(super) fn at(&self, time: &str) {
        let time: jiff::Timestamp = time.parse().unwrap();
        self.clock.0.store(time.as_second(), Ordering::SeqCst);
    }

    pub(super) fn later(&self, by: Duration) {
        self.clock.0.fetch_add(by.as_secs() as i64, Ordering::SeqCst);
    }

    pub(super) fn faults(&self, json: &str) {
        let faults: Faults = serde_json::from_str(json).unwrap();
        self.emulator.switches.set(faults).unwrap();
    }

    /// Sends a request as it is: status and answer.
    pub(super) fn send(&self, method: &str, query: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let headers: Headers = headers.iter().copied().collect();
        let received = Received::new(method, query, headers, body.as_bytes());
        let answer = self.emulator.answer(&received);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// The parameters of a call that is good but for its signature.
    pub(super) fn parameters(&self, action: &str, arguments: &[(&str, &str)]) -> Parameters {
        let time = crate::kms::api::time_text(self.clock.unix());
        let nonce = self.nonce.fetch_add(1, Ordering::SeqCst).to_string();
        let common = [
            ("AccessKeyId", "testid"),
            ("Action", action),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", &nonce),
            ("SignatureVersion", "1.0"),
            ("Timestamp", &time),
            ("Version", "2016-01-20"),
        ];
        common.into_iter().chain(arguments.iter().copied()).collect()
    }

    /// Signs and sends parameters.
    pub(super) fn sign(&self, mut parameters: Parameters) -> (u16, Value) {
        let signature = Rpc1::new("GET", &parameters).sign("testsecret");
        parameters.set("Signature", signature);
        self.send("GET", &parameters.canonical(), &[("host", "h")], "")
    }

    /// Calls an action: status and answer.
    pub(super) fn call(&self, action: &str, arguments: &[(&str, &str)]) -> (u16, Value) {
        self.sign(self.parameters(action, arguments))
    }

    /// The answer of a call that succeeds.
    pub(super) fn good(&self, action: &str, arguments: &[(&str, &str)]) -> Value {
        let (status, answer) = self.call(action, arguments);
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    /// The code of a call that is refused with `status`.
    pub(super) fn refused(&self, status: u16, action: &str, arguments: &[(&str, &str)]) -> String {
        let (got, answer) = self.call(action, arguments);
        assert_eq!(got, status, "{action}: {answer}");
        assert_eq!(answer["RequestId"].as_str().map(str::len), Some(36));
        answer["Code"].as_str().unwrap().to_owned()
    }
}
