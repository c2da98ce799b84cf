//! The agent's log, to stderr: for people, or one JSON object a line.
//!
//! A JSON record has, in this order, `timestamp` (RFC 3339, UTC, microseconds), `level` (`error`, `warn`, `info`,
//! `debug`, `trace`), `target` (the module that speaks) and `message`; then what the record is about, under names
//! of its own. Those of an event are those it has at `/events`: `kind`, `process`, `pid`, `container`, `role`,
//! `local`, `remote`, `client`, `direction`, and `size_bytes`, `size_category`, or `messages`, `seconds`,
//! `messages_per_second`, `limit_per_minute`. One that tells of others held back has their number in `held_back`.
//!
//! Strangers cause records. So each place in the code writes ten of them in ten seconds, at most; once they are over, one
//! record says how many more there were.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::config::LogFormat;
use crate::{list, show};

/// Records that one place in the code writes in a [`PERIOD`], at most.
const AT_MOST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// Places that are told apart, at most: the code has fewer.
const MOST_PLACES: usize = 1000;

/// Starts the log.
pub fn start(format: LogFormat, level: LevelFilter) {
    if format == LogFormat::Json {
        // Whoever reads JSON reads nothing else.
        std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    }
    install(&mut builder(format, level), level);
}

/// Starts the log, for people, into something else: standard error may be a terminal that shows other things.
pub fn start_into(lines: Box<dyn Write + Send>, level: LevelFilter) {
    install(builder(LogFormat::Text, level).target(env_logger::Target::Pipe(lines)), level);
}

/// Tells of what was held back in periods that are over; to be called now and then.
pub fn tell_held_back() {
    log::logger().flush();
}

fn install(builder: &mut env_logger::Builder, level: LevelFilter) {
    let limited = Limited { logger: builder.build(), places: Mutex::default() };
    // It fails where there is a log already, which then goes on.
    if log::set_boxed_logger(Box::new(limited)).is_ok() {
        log::set_max_level(level);
    }
}

fn builder(format: LogFormat, level: LevelFilter) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    // Libraries log for their own developers.
    builder.filter_module("aya", level.min(LevelFilter::Warn));
    builder.filter_module("ureq", level.min(LevelFilter::Warn));
    match format {
        LogFormat::Text => builder.format(|out, record| {
            let message = record.args().to_string();
            writeln!(out, "{:<5} {}", record.level(), show::clean(&message))
        }),
        LogFormat::Json => builder.format(|out, record| {
            let timestamp = out.timestamp_micros().to_string();
            writeln!(out, "{}", line(timestamp, record))
        }),
    };
    builder
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    target: &'a str,
    message: String,
    #[serde(flatten)]
    fields: Map<String, Json>,
}

/// A record as one line of JSON.
fn line(timestamp: String, record: &Record<'_>) -> String {
    let mut fields = Fields(Map::new());
    // Taking a field does not fail.
    let _ = record.key_values().visit(&mut fields);
    let line = Line {
        timestamp,
        level: match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        },
        target: record.target(),
        message: record.args().to_string(),
        fields: fields.0,
    };
    list::harmless(&serde_json::to_string(&line).unwrap_or_default())
}

struct Fields(Map<String, Json>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut taken = Taken(Json::Null);
        value.visit(&mut taken)?;
        self.0.insert(key.as_str().to_owned(), taken.0);
        Ok(())
    }
}

struct Taken(Json);

impl VisitValue<'_> for Taken {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

/// A place in the code: its module and line. Some modules are the kernel half's.
type Place = (Cow<'static, str>, u32);

/// What a place has written in a period.
struct Written {
    since: Instant,
    count: u32,
    held_back: u64,
    level: Level,
    /// The last that was held back.
    example: String,
}

/// A log that holds back what there is too much of.
struct Limited<L> {
    logger: L,
    places: Mutex<HashMap<Place, Written>>,
}

impl<L: Log> Limited<L> {
    fn places(&self) -> MutexGuard<'_, HashMap<Place, Written>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_at(&self, record: &Record<'_>, now: Instant) {
        if self.admits(record, now) {
            self.logger.log(record);
        }
    }

    fn admits(&self, record: &Record<'_>, now: Instant) -> bool {
        let place = place(record);
        let mut places = self.places();
        let is_full = places.len() >= MOST_PLACES && !places.contains_key(&place);
        let place = if is_full { (Cow::Borrowed("other"), 0) } else { place };
        let written = places.entry(place).or_insert_with(|| Written {
            since: now,
            count: 0,
            held_back: 0,
            level: record.level(),
            example: String::new(),
        });
        if written.count < AT_MOST {
            written.count += 1;
            return true;
        }
        written.held_back += 1;
        written.example = record.args().to_string();
        false
    }

    /// Begins periods anew, and tells of what was held back in those that are over.
    fn tell(&self, now: Instant) {
        let mut over = Vec::new();
        self.places().retain(|(module, _), written| {
            let is_over = now.saturating_duration_since(written.since) >= PERIOD;
            if is_over && written.held_back > 0 {
                over.push((
                    module.clone(),
                    written.held_back,
                    written.level,
                    std::mem::take(&mut written.example),
                ));
            }
            !is_over
        });
        for (module, held_back, level, example) in over {
            let seconds = PERIOD.as_secs();
            let fields = [("held_back", Value::from(held_back))];
            self.logger.log(
                &Record::builder()
                    .level(level)
                    .target(&module)
                    .key_values(&fields)
                    .args(format_args!(
                        "{held_back} more in the last {seconds} s were not logged, such as: {example}"
                    ))
                    .build(),
            );
        }
    }
}

fn place(record: &Record<'_>) -> Place {
    let module = match record.module_path_static() {
        Some(module) => Cow::Borrowed(module),
        None => Cow::Owned(record.target().to_owned()),
    };
    (module, record.line().unwrap_or_default())
}

impl<L: Log> Log for Limited<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.logger.enabled(record.metadata()) {
            self.log_at(record, Instant::now());
        }
    }

    fn flush(&self) {
        self.tell(Instant::now());
        self.logger.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use log::kv::{ToValue, Value};
    use log::{Level, Log, Metadata, Record};
    use serde_json::json;

    use super::{AT_MOST, Limited, PERIOD, line};

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for &Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().expect("no panic").push(line("now".to_owned(), record));
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let hostile = "a\nb\r\u{85}\u{9b}2J\u{2028}\u{7f}\"\\{}日";
        let fields = [
            ("process", hostile.to_value()),
            ("pid", 7_u32.to_value()),
            ("rate", 2.5.to_value()),
            ("is", true.to_value()),
            ("less", (-3_i64).to_value()),
            ("not", f64::NAN.to_value()),
        ];
        let record = |text: &str| {
            let builder = &mut Record::builder();
            builder.level(Level::Warn).target("observer::events").key_values(&fields);
            line("2026-01-02T03:04:05.000006Z".to_owned(), &builder.args(format_args!("{text}")).build())
        };
        let text = record(hostile);
        assert!(
            !text.chars().any(|one| one.is_control() || matches!(one, '\u{2028}' | '\u{2029}')),
            "{text:?}"
        );
        assert!(text.starts_with(
            "{\"timestamp\":\"2026-01-02T03:04:05.000006Z\",\"level\":\"warn\",\"target\":\"observer::events\",\"message\":"
        ));
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        for (name, expected) in [
            ("message", json!(hostile)),
            ("process", json!(hostile)),
            ("pid", json!(7)),
            ("rate", json!(2.5)),
            ("is", json!(true)),
            ("less", json!(-3)),
            ("not", json!(null)),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
    }

    #[test]
    fn a_place_writes_so_many_and_then_how_many_more_there_were() {
        let kept = Kept::default();
        let limited = Limited { logger: &kept, places: Mutex::default() };
        let start = Instant::now();
        let write = |line: u32, now: Instant| {
            let builder = &mut Record::builder();
            builder.module_path_static(Some("here")).line(Some(line)).level(Level::Warn);
            limited.log_at(&builder.args(format_args!("place {line}")).build(), now);
        };
        for _ in 0..25 {
            write(1, start);
        }
        write(2, start);
        let count = || kept.0.lock().expect("no panic").len();
        assert_eq!(count(), AT_MOST as usize + 1);
        limited.tell(start + PERIOD.saturating_sub(Duration::from_millis(1)));
        assert_eq!(count(), AT_MOST as usize + 1);
        limited.tell(start + PERIOD);
        let last = kept.0.lock().expect("no panic").last().cloned().unwrap_or_default();
        let last: serde_json::Value = serde_json::from_str(&last).expect("it is JSON");
        assert_eq!(
            (&last["held_back"], &last["target"], &last["level"]),
            (&json!(15), &json!("here"), &json!("warn"))
        );
        assert!(last["message"].as_str().is_some_and(|text| text.ends_with("place 1")), "{last}");
        // A new period, and nothing is said twice.
        write(1, start + PERIOD);
        limited.tell(start + PERIOD);
        assert_eq!(count(), AT_MOST as usize + 3);
        assert_eq!(Value::from(1_u64).to_string(), "1");
    }
}
