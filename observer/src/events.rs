//! What is told of once: oversized messages, and users of a high rate. In the log, which is limited, and at `/events`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// How many of the most recent are kept.
const KEPT: usize = 1000;

/// An event; `kind` tells which, `oversized` or `high_rate`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A message above a threshold.
    Oversized(Oversized),
    /// More messages in a minute than the limit.
    HighRate(HighRate),
}

/// Which connection an event is about, and whose it is.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
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
    /// Whom a proxy has declared to be the client, in a header of the PROXY protocol; else empty.
    pub client: String,
    /// `sent` or `received`.
    pub direction: &'static str,
}

/// An oversized message.
#[derive(Clone, Debug, Serialize)]
pub struct Oversized {
    /// Seconds since 1970, when the header was seen that made it so.
    pub time: f64,
    /// Which connection it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Payload bytes that its headers have declared so far.
    pub size_bytes: u64,
    /// The threshold that they have reached: `medium`, `large` or `huge`.
    pub size_category: &'static str,
}

/// A user that has sent more messages in a minute than the limit.
#[derive(Clone, Debug, Serialize)]
pub struct HighRate {
    /// Seconds since 1970, when it was noticed: within a second.
    pub time: f64,
    /// Which connection it is about, and the direction of the user's messages.
    #[serde(flatten)]
    pub subject: Subject,
    /// Messages so far in a minute that is not over.
    pub messages: u64,
    /// Seconds of it so far.
    pub seconds: f64,
    /// The one over the other.
    pub messages_per_second: f64,
    /// Messages a minute that are not too many.
    pub limit_per_minute: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match self {
            Self::Oversized(event) => {
                let Oversized { size_bytes, size_category, subject, .. } = event;
                write!(formatter, "oversized message: {size_category} of {size_bytes} bytes")?;
                subject
            }
            Self::HighRate(event) => {
                let HighRate { messages, seconds, limit_per_minute, subject, .. } = event;
                write!(formatter, "high rate: {messages} messages in {seconds:.1} s")?;
                write!(formatter, " (limit {limit_per_minute} a minute)")?;
                subject
            }
        };
        // Names and paths are chosen by strangers: none may start a line of its own.
        write!(
            formatter,
            " {} by {} (pid {}), {} to {}",
            subject.direction,
            subject.process.escape_debug(),
            subject.pid,
            subject.local.escape_debug(),
            subject.remote.escape_debug()
        )?;
        if subject.client.is_empty() { Ok(()) } else { write!(formatter, " for {}", subject.client) }
    }
}

/// Logs an event with these fields, and those that all have.
macro_rules! warn_of {
    ($event:expr, $of:expr, $kind:literal, $($field:ident),+) => {{
        let Subject { process, pid, container, role, local, remote, client, direction } = &$of.subject;
        log::warn!(
            kind = $kind,
            process = process.as_str(),
            pid = *pid,
            container = container.as_str(),
            role = *role,
            local = local.as_str(),
            remote = remote.as_str(),
            client = client.as_str(),
            direction = *direction,
            $($field = $of.$field),+;
            "{}", $event
        );
    }};
}

impl Event {
    fn log(&self) {
        match self {
            Self::Oversized(of) => warn_of!(self, of, "oversized", size_bytes, size_category),
            Self::HighRate(of) => {
                warn_of!(self, of, "high_rate", messages, seconds, messages_per_second, limit_per_minute);
            }
        }
    }
}

/// The most recent.
#[derive(Debug, Default)]
pub struct Events {
    recent: VecDeque<Event>,
}

impl Events {
    /// Takes in one more.
    pub fn push(&mut self, event: Event) {
        event.log();
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }

    /// The most recent first.
    pub fn recent(&self) -> impl Iterator<Item = &Event> {
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

#[cfg(test)]
mod tests {
    use super::{Event, HighRate, Oversized, Subject};

    fn subject() -> Subject {
        Subject {
            process: "chat\nd".to_owned(),
            pid: 7,
            container: String::new(),
            role: "server",
            local: "10.0.0.1:80".to_owned(),
            remote: "10.0.0.2:4000".to_owned(),
            client: String::new(),
            direction: "received",
        }
    }

    #[test]
    fn kinds_are_told_apart_and_share_what_they_have_in_common() {
        let oversized =
            Oversized { time: 1.0, subject: subject(), size_bytes: 12_000_000, size_category: "huge" };
        let high = HighRate {
            time: 2.0,
            subject: subject(),
            messages: 500,
            seconds: 2.5,
            messages_per_second: 200.0,
            limit_per_minute: 100,
        };
        let shown = [Event::Oversized(oversized), Event::HighRate(high)].map(|event| {
            let json = serde_json::to_value(&event).expect("it is plain data");
            (json, event.to_string())
        });
        for ((json, text), kind) in shown.iter().zip(["oversized", "high_rate"]) {
            assert_eq!(json["kind"], kind);
            assert_eq!((&json["process"], &json["pid"]), (&"chat\nd".into(), &7.into()));
            assert_eq!((&json["local"], &json["remote"]), (&"10.0.0.1:80".into(), &"10.0.0.2:4000".into()));
            assert!(text.ends_with(" received by chat\\nd (pid 7), 10.0.0.1:80 to 10.0.0.2:4000"), "{text}");
        }
        assert_eq!(shown[0].0["size_bytes"], 12_000_000);
        assert_eq!(shown[0].0["client"], "");
        assert!(shown[1].1.starts_with("high rate: 500 messages in 2.5 s (limit 100 a minute) "));
    }
}
