//! Keys fetched ahead of opens: which, how many at a time, and that nobody waits for it.

use std::sync::Arc;

use super::bench::Bench;
use crate::fs::types::ROOT;
use crate::kms::scripted::ScriptedKms;

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("not in five seconds: {what}");
}

/// Forty cold files, and how many keys were unwrapped before.
fn cold(kms: &Arc<ScriptedKms>, ahead: usize) -> (Bench, u64) {
    let bench = Bench::on(kms);
    for number in 0..40 {
        bench.file(ROOT, &format!("f{number:02}"), "content");
    }
    let bench = bench.ahead(kms, ahead);
    (bench, kms.decrypted())
}

fn read(bench: &Bench, number: usize) {
    assert_eq!(bench.text(ROOT, &format!("f{number:02}")).unwrap(), "content");
}

#[test]
fn a_walk_by_name_finds_keys_at_hand_and_each_is_asked_for_once() {
    let kms = Arc::new(ScriptedKms::new());
    let (bench, before) = cold(&kms, 16);
    read(&bench, 0);
    assert_eq!(kms.decrypted() - before, 1, "one file is no walk");
    read(&bench, 1);
    eventually("the next four", || kms.decrypted() - before == 6);
    (2..40).for_each(|number| read(&bench, number));
    eventually("all of them", || bench.fs.volume().keyring.status().cached == 40);
    assert_eq!(kms.decrypted() - before, 40);
    let status = bench.fs.volume().keyring.status();
    assert!(status.hits + status.misses == 40 && status.hits > 0, "{status:?}");
}

#[test]
fn many_are_asked_for_at_a_time_and_who_opens_does_not_wait() {
    let kms = Arc::new(ScriptedKms::new());
    let (bench, before) = cold(&kms, 16);
    (0..2).for_each(|number| read(&bench, number));
    eventually("the next four", || kms.decrypted() - before == 6);
    eventually("at hand", || bench.fs.volume().keyring.status().cached == 6);
    kms.close_gate();
    read(&bench, 2);
    kms.await_waiting(5);
    kms.open_gate();
    eventually("let through", || kms.decrypted() - before == 11);
}

#[test]
fn a_locked_volume_fetches_nothing() {
    let kms = Arc::new(ScriptedKms::new());
    let (bench, before) = cold(&kms, 16);
    (0..2).for_each(|number| read(&bench, number));
    eventually("the next four", || kms.decrypted() - before == 6);
    kms.close_gate();
    read(&bench, 2);
    kms.await_waiting(5);
    bench.fs.volume().keyring.lock();
    kms.open_gate();
    eventually("ended", || kms.decrypted() - before == 11);
    let status = bench.fs.volume().keyring.status();
    assert_eq!((status.cached, status.locked), (0, true));
}

#[test]
fn without_a_limit_above_none_nothing_is_fetched() {
    let kms = Arc::new(ScriptedKms::new());
    let (bench, before) = cold(&kms, 0);
    (0..10).for_each(|number| read(&bench, number));
    assert_eq!(kms.decrypted() - before, 10);
    assert_eq!(bench.fs.volume().keyring.status().misses, 10);
}
