//! How far long work is: a bar on a terminal, plain lines otherwise; and whether a signal has asked to stop.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Signals that ask to stop. The first one is answered by whoever works, after cleaning up; a second one ends the
/// program at once.
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// From now on signals are noticed and no more.
    ///
    /// # Errors
    /// The system refuses that.
    pub fn watch() -> Result<Stop, Failure> {
        let asked = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let first = Arc::new(std::sync::atomic::AtomicBool::new(false));
            // In this order: what the second registration sets, the first one sees when the next signal comes.
            let registered = signal_hook::flag::register_conditional_default(signal, Arc::clone(&first))
                .and_then(|_| signal_hook::flag::register(signal, first))
                .and_then(|_| signal_hook::flag::register_usize(signal, Arc::clone(&asked), signal as usize));
            registered.map_err(|error| Failure::internal(format!("signals cannot be watched: {error}")))?;
        }
        Ok(Stop(asked))
    }

    /// Whether a signal came.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// If a signal came: ends the program by it, as whoever started it expects.
    pub fn end_if_asked(&self) {
        if self.asked() {
            // Should it fail, the failure that is reported next will do.
            let _ = signal_hook::low_level::emulate_default_handler(self.0.load(Ordering::Relaxed) as i32);
        }
    }
}

/// One piece of long work.
pub struct Progress<'a> {
    bar: ProgressBar,
    name: String,
    done: u64,
    all: u64,
    said: Instant,
    stop: &'a Stop,
}

impl<'a> Progress<'a> {
    /// Work called `name` on `all` bytes.
    pub fn begin(name: String, all: u64, stop: &'a Stop) -> Progress<'a> {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr()),
            false => ProgressBar::hidden(),
        };
        let form = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.set_message(name.clone());
        Progress {
            bar,
            name,
            done: 0,
            all,
            said: Instant::now(),
            stop,
        }
    }

    /// So many bytes more are done.
    pub fn passed(&mut self, bytes: u64) -> ControlFlow<()> {
        self.done += bytes;
        self.bar.set_position(self.done);
        if self.bar.is_hidden() && self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            let line = format!("{}: {} of {}\n", self.name, HumanBytes(self.done), HumanBytes(self.all));
            // Nobody reads it: no reason to stop.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        match self.stop.asked() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
