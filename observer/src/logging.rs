//! The agent's log, to stderr: for people, or one JSON object a line.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::LogFormat;

/// Starts the log.
pub fn start(format: LogFormat, level: log::LevelFilter) {
    builder(format, level).init();
}

/// Starts the log, for people, into something else: standard error may be a terminal that shows other things.
pub fn start_into(lines: Box<dyn Write + Send>, level: log::LevelFilter) {
    builder(LogFormat::Text, level).target(env_logger::Target::Pipe(lines)).init();
}

fn builder(format: LogFormat, level: log::LevelFilter) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    // Libraries log for their own developers.
    builder.filter_module("aya", level.min(log::LevelFilter::Warn));
    match format {
        LogFormat::Text => builder.format(|out, record| {
            writeln!(out, "{:<5} {}", record.level(), record.args().to_string().replace('\n', " "))
        }),
        LogFormat::Json => builder.format(|out, record| {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let line = serde_json::json!({
                "time": time,
                "level": record.level().as_str().to_ascii_lowercase(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{line}")
        }),
    };
    builder
}
