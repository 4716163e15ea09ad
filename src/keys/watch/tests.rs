//! Every decision of the watch: as a table, by scenes, and against what it promises at all times.

use proptest::prelude::*;

use super::*;
use crate::kms::KmsError;

const INTERVAL: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1_000_000 + seconds)
}

fn watch(grace: Option<Duration>) -> Watch {
    let settings = WatchSettings {
        interval: INTERVAL,
        grace,
    };
    Watch::new(settings, at(0))
}

fn denied() -> Outcome {
    Outcome::Withdrawn("disabled".to_owned())
}

fn silent() -> Outcome {
    Outcome::Unanswered("timeout".to_owned())
}

fn reasons() -> [Option<Reason>; 5] {
    [
        None,
        Some(Reason::Idle(HOUR)),
        Some(Reason::Command),
        Some(Reason::Denied("before".to_owned())),
        Some(Reason::Silence(HOUR, "before".to_owned())),
    ]
}

fn locks(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Keep => "keep",
        Verdict::Unlock => "unlock",
        Verdict::Lock(Reason::Denied(_)) => "lock, denied",
        Verdict::Lock(Reason::Silence(..)) => "lock, silence",
        Verdict::Lock(Reason::Command | Reason::Idle(_)) => "lock, command",
    }
}

#[test]
fn every_outcome_in_every_state() {
    // unlocked, unused, by command, denied, silence
    let table = [
        (Outcome::Granted, ["keep", "keep", "keep", "unlock", "unlock"]),
        (denied(), ["lock, denied", "keep", "keep", "keep", "lock, denied"]),
        (silent(), ["keep", "keep", "keep", "keep", "keep"]),
    ];
    for (outcome, expected) in table {
        for (locked, expected) in reasons().iter().zip(expected) {
            let verdict = watch(Some(HOUR)).checked(at(30), outcome.clone(), at(31), locked.as_ref());
            assert_eq!(locks(&verdict), expected, "{outcome:?} while {locked:?}");
        }
    }
}

#[test]
fn errors_are_sorted_by_remedy() {
    for (code, withdrawn) in [
        ("Rejected.Disabled", true),
        ("Rejected.PendingDeletion", true),
        ("Forbidden.KeyNotFound", true),
        ("Forbidden.AliasNotFound", true),
        ("Forbidden.NoPermission", true),
        ("Rejected.Throttling", false),
        ("ServiceUnavailableTemporary", false),
        ("InvalidSecurityToken.Expired", false),
        ("SignatureDoesNotMatch", false),
        ("InvalidParameter", false),
    ] {
        let outcome = Outcome::from(Err(KeyError::Kms(KmsError::new(code, "m"))));
        assert_eq!(matches!(outcome, Outcome::Withdrawn(_)), withdrawn, "{code}");
        assert_eq!(matches!(outcome, Outcome::Unanswered(_)), !withdrawn, "{code}");
    }
    assert_eq!(Outcome::from(Ok(())), Outcome::Granted);
}

#[test]
fn silence_is_served_for_the_grace_to_the_second() {
    let mut watch = watch(Some(HOUR));
    assert_eq!(watch.checked(at(30), silent(), at(35), None), Verdict::Keep);
    assert_eq!(watch.elapsed(at(3599), None), Verdict::Keep);
    let lock = watch.elapsed(at(3600), None);
    assert_eq!(lock, Verdict::Lock(Reason::Silence(HOUR, "timeout".to_owned())));
    assert_eq!(watch.rest(None), Some(at(60).min(at(3600))).map(|_| at(30)));
}

#[test]
fn it_wakes_for_whatever_comes_first() {
    let mut watch = watch(Some(Duration::from_secs(40)));
    assert!(watch.take_turn(at(30), None));
    assert_eq!(
        watch.rest(None),
        Some(at(40)).max(Some(at(40))),
        "the grace ends before the next check"
    );
    watch.contacted(at(30));
    assert_eq!(watch.rest(None), Some(at(60)));
    assert_eq!(watch.rest(Some(&Reason::Command)), None);
    assert_eq!(watch.rest(Some(&Reason::Denied(String::new()))), Some(at(60)));
}

#[test]
fn no_grace_locks_at_the_first_silence_and_not_before() {
    let mut watch = watch(Some(Duration::ZERO));
    assert_eq!(watch.elapsed(at(29), None), Verdict::Keep);
    assert_eq!(
        watch.elapsed(at(34), None),
        Verdict::Keep,
        "the check may still be answered"
    );
    assert_eq!(locks(&watch.clone().elapsed(at(35), None)), "lock, silence");
    assert_eq!(locks(&watch.checked(at(30), silent(), at(31), None)), "lock, silence");
}

#[test]
fn endless_grace_never_locks_for_silence() {
    let mut watch = watch(None);
    assert_eq!(watch.checked(at(30), silent(), at(35), None), Verdict::Keep);
    assert_eq!(watch.elapsed(at(1_000_000_000), None), Verdict::Keep);
    assert_eq!(locks(&watch.checked(at(60), denied(), at(61), None)), "lock, denied");
}

#[test]
fn a_sleep_through_the_grace_locks_on_waking() {
    let watch = watch(Some(HOUR));
    assert_eq!(locks(&watch.elapsed(at(3 * 3600), None)), "lock, silence");
}

#[test]
fn an_answer_that_comes_late_does_not_undo_a_newer_one() {
    let mut watch = watch(Some(HOUR));
    assert_eq!(locks(&watch.checked(at(60), denied(), at(61), None)), "lock, denied");
    let locked = Reason::Denied(String::new());
    let late = watch.checked(at(30), Outcome::Granted, at(62), Some(&locked));
    assert_eq!(late, Verdict::Keep);
    assert_eq!(
        watch.checked(at(90), Outcome::Granted, at(91), Some(&locked)),
        Verdict::Unlock
    );
    assert_eq!(watch.checked(at(60), denied(), at(92), None), Verdict::Keep);
}

#[test]
fn a_key_that_is_disabled_for_a_second_locks_and_comes_back_with_the_next_check() {
    let mut watch = watch(Some(HOUR));
    let Verdict::Lock(reason) = watch.checked(at(30), denied(), at(30), None) else {
        panic!("not locked")
    };
    assert_eq!(
        watch.checked(at(60), Outcome::Granted, at(60), Some(&reason)),
        Verdict::Unlock
    );
}

#[test]
fn checks_come_once_in_an_interval_and_not_while_locked_by_command() {
    let mut watch = watch(Some(HOUR));
    assert!(!watch.take_turn(at(29), None));
    assert!(watch.take_turn(at(30), None) && !watch.take_turn(at(30), None));
    assert!(!watch.take_turn(at(500), Some(&Reason::Command)));
    assert!(watch.take_turn(at(500), Some(&Reason::Denied(String::new()))));
    watch.hurry(at(501));
    assert!(watch.take_turn(at(501), None));
}

#[test]
fn reasons_read_well() {
    assert_eq!(Reason::Command.to_string(), "by command");
    assert_eq!(Reason::Denied("x".to_owned()).to_string(), "denied: x");
    let silence = Reason::Silence(Duration::from_millis(3_600_250), "timeout".to_owned());
    assert_eq!(silence.to_string(), "no contact with the KMS for 1h: timeout");
}

/// What happens to a watch: seconds pass, and a check that was begun then comes back with something.
fn events() -> impl Strategy<Value = Vec<(u64, u8, u64)>> {
    prop::collection::vec((0u64..100, 0u8..4, 0u64..40), 1..60)
}

proptest! {
    /// Whatever the KMS does and whenever: a withdrawal that is news locks at once; while unlocked, the last contact is
    /// never older than the grace (or one check, if that is longer); nothing but a newer grant unlocks.
    #[test]
    fn promises_hold(grace in prop::option::of(0u64..500), events in events()) {
        let grace = grace.map(Duration::from_secs);
        let mut watch = watch(grace);
        let (mut now, mut locked): (u64, Option<Reason>) = (0, None);
        let mut newest = at(0);
        for (passed, kind, age) in events {
            now += passed;
            let asked = at(now.saturating_sub(age));
            let outcome = match kind {
                0 => Outcome::Granted,
                1 => denied(),
                2 => silent(),
                _ => {
                    let verdict = watch.elapsed(at(now), locked.as_ref());
                    prop_assert!(verdict != Verdict::Unlock, "time alone unlocks");
                    if let Verdict::Lock(reason) = verdict {
                        locked = Some(reason);
                    }
                    continue;
                }
            };
            let news = asked >= newest;
            let verdict = watch.checked(asked, outcome.clone(), at(now), locked.as_ref());
            if news {
                newest = asked;
            }
            match &verdict {
                Verdict::Unlock => {
                    prop_assert!(news && outcome == Outcome::Granted && locked.is_some());
                    locked = None;
                }
                Verdict::Lock(reason) => locked = Some(reason.clone()),
                Verdict::Keep => {}
            }
            if news && outcome == denied() {
                prop_assert!(locked.is_some(), "denied and bright");
            }
            if locked.is_none() && watch.elapsed(at(now), None) == Verdict::Keep
                && let Some(grace) = grace
            {
                let silence = at(now).saturating_sub(watch.contact());
                prop_assert!(silence < grace.max(INTERVAL + CHECK_DEADLINE));
            }
        }
    }
}
