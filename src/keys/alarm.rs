//! Waiting for a time or for somebody who rings. The time is the one that goes on while the machine sleeps: who sleeps
//! past it is woken as soon as the machine is.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{self, Errno};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Something to wait at.
#[derive(Debug)]
pub(super) struct Alarm {
    bell: OwnedFd,
    timer: OwnedFd,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Alarm> {
        let timer = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Alarm {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            timer: timerfd_create(TimerfdClockId::Boottime, timer)?,
        })
    }

    /// Ends the wait that is under way, or the next one.
    pub(super) fn ring(&self) {
        // It fails only when it has been rung 2^64 times since the last wait.
        let _ = io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits for `time`, or until somebody rings; without a time only for that.
    pub(super) fn wait(&self, time: Option<Duration>) {
        if time.is_some_and(|time| time.is_zero()) {
            return;
        }
        if let Err(error) = self.set(time.unwrap_or_default()) {
            tracing::error!(%error, "no timer; the KMS is asked every second instead");
            std::thread::sleep(Duration::from_secs(1));
            return;
        }
        let mut fds = [
            PollFd::new(&self.bell, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
        ];
        while poll(&mut fds, None) == Err(Errno::INTR) {}
        // Empty either way.
        let _ = io::read(&self.bell, &mut [0; 8]);
    }

    /// Zero switches the timer off.
    fn set(&self, time: Duration) -> io::Result<()> {
        let value = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_time_and_by_ringing() {
        let alarm = Alarm::new().unwrap();
        alarm.wait(Some(Duration::from_millis(1)));
        alarm.ring();
        alarm.wait(Some(Duration::from_secs(1000)));
        alarm.ring();
        alarm.wait(None);
        std::thread::scope(|threads| {
            let waits = threads.spawn(|| alarm.wait(None));
            alarm.ring();
            waits.join().unwrap();
        });
    }
}
