//! Oversized messages, each told of once: in the log, as far as its rate allows, and at `/events`.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// How many of the most recent are kept.
const KEPT: usize = 1000;

/// How many log records may be written in a [`PERIOD`].
const LOGGED: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// An oversized message.
#[derive(Clone, Debug, Serialize)]
pub struct Oversized {
    /// Seconds since 1970, when the header was seen.
    pub time: f64,
    /// The process's name.
    pub process: String,
    /// Its thread-group id.
    pub pid: u32,
    /// Its container, or empty.
    pub container: String,
    /// `client` or `server`.
    pub role: &'static str,
    /// This end.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// `sent` or `received`.
    pub direction: &'static str,
    /// Payload bytes that the header declares.
    pub size_bytes: u64,
    /// `medium`, `large` or `huge`.
    pub size_category: &'static str,
}

/// The most recent.
#[derive(Debug)]
pub struct Events {
    recent: VecDeque<Oversized>,
    since: Instant,
    logged: u32,
    held_back: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self { recent: VecDeque::new(), since: Instant::now(), logged: 0, held_back: 0 }
    }
}

impl Events {
    /// Takes in one more.
    pub fn push(&mut self, event: Oversized) {
        self.start_period(Instant::now());
        if self.logged < LOGGED {
            self.logged += 1;
            // Names and paths are chosen by strangers: none may start a line of its own.
            log::warn!(
                "oversized message: {} of {} bytes {} by {} (pid {}), {} to {}",
                event.size_category,
                event.size_bytes,
                event.direction,
                event.process.escape_debug(),
                event.pid,
                event.local.escape_debug(),
                event.remote.escape_debug(),
            );
        } else {
            self.held_back += 1;
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }

    /// Says how many records were held back, once their period is over.
    pub fn start_period(&mut self, now: Instant) {
        if now.duration_since(self.since) < PERIOD {
            return;
        }
        if self.held_back > 0 {
            log::warn!(
                "{} more oversized messages in the last {} s were not logged",
                self.held_back,
                PERIOD.as_secs()
            );
        }
        self.since = now;
        self.logged = 0;
        self.held_back = 0;
    }

    /// The most recent first.
    pub fn recent(&self) -> impl Iterator<Item = &Oversized> {
        self.recent.iter().rev()
    }
}

/// A moment of `CLOCK_MONOTONIC`, in nanoseconds, as seconds since 1970.
pub fn wall_clock(monotonic_ns: u64) -> f64 {
    let ago = monotonic_now_ns().saturating_sub(monotonic_ns);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_nanos(ago)).as_secs_f64()
}

/// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds.
pub fn wall_offset_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    i64::try_from(now).unwrap_or_default() - monotonic_now_ns().cast_signed()
}

/// `CLOCK_MONOTONIC`, in nanoseconds, as the kernel half has it.
pub fn monotonic_now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a place for the answer; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
