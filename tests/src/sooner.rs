//! Files of Prometheus and Alertmanager in which everything takes less time, and nothing else is different.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Keys whose values are durations.
const KEYS: [&str; 9] = [
    "evaluation_interval",
    "for",
    "group_interval",
    "group_wait",
    "interval",
    "keep_firing_for",
    "repeat_interval",
    "resolve_timeout",
    "scrape_interval",
];

/// A file's text with the durations of settings and of ranges divided by `divisor`, but not below `least`.
///
/// That it is else the same is checked on what YAML makes of both.
pub fn sooner(text: &str, divisor: u32, least: Duration) -> anyhow::Result<String> {
    let shorter = |duration: &str| -> anyhow::Result<String> {
        Ok(format!("{}ms", (length(duration)? / divisor).max(least).as_millis()))
    };
    let mut lines = Vec::new();
    for line in text.lines() {
        let setting = line.split_once(": ").filter(|(key, _)| KEYS.contains(&key.trim_start()));
        lines.push(match setting {
            Some((key, duration)) => format!("{key}: {}", shorter(duration)?),
            None => in_ranges(line, shorter)?,
        });
    }
    let changed = lines.join("\n") + "\n";
    let [before, after] = [text, &changed].map(|text| -> anyhow::Result<Value> {
        let mut file = serde_saphyr::from_str(text)?;
        without_durations(&mut file)?;
        Ok(file)
    });
    ensure!(before? == after?, "more than durations has changed");
    ensure!(changed != text, "there is no duration");
    Ok(changed)
}

/// A duration as Prometheus writes it: one number and its unit.
pub fn length(duration: &str) -> anyhow::Result<Duration> {
    let digits = duration.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let milliseconds = match &duration[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        unit => anyhow::bail!("no unit of time: {unit:?} in {duration:?}"),
    };
    let number: u64 = digits.parse().with_context(|| format!("no duration: {duration:?}"))?;
    Ok(Duration::from_millis(number * milliseconds))
}

/// A line with what stands in brackets and is a duration changed.
fn in_ranges(line: &str, change: impl Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<String> {
    let mut parts = line.split('[');
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        changed.push('[');
        match part.split_once(']').filter(|(inner, _)| length(inner).is_ok()) {
            Some((duration, rest)) => changed.extend([&*change(duration)?, "]", rest]),
            None => changed.push_str(part),
        }
    }
    Ok(changed)
}

/// Takes durations out of settings and expressions.
fn without_durations(value: &mut Value) -> anyhow::Result<()> {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if KEYS.contains(&key.as_str()) => {
                        length(text)?;
                        text.clear();
                    }
                    Value::String(text) if key == "expr" => *text = in_ranges(text, |_| Ok(String::new()))?,
                    _ => without_durations(value)?,
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().try_for_each(without_durations)?,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::sooner;

    const FILE: &str = "groups:
  - name: for some
    interval: 15s
    rules:
      - alert: Slow
        expr: |
          rate(a{b=~\"[0-9]m\"}[5m]) - rate(c[1h]) > 5
        for: 30s
        annotations:
          summary: For 5m [5s].
";

    #[test]
    fn durations_are_shorter_and_nothing_else() -> anyhow::Result<()> {
        let shorter = sooner(&FILE.replace("For 5m [5s].", "For 5m."), 60, Duration::from_secs(1))?;
        let expected = FILE
            .replace("For 5m [5s].", "For 5m.")
            .replace("15s", "1000ms")
            .replace("[5m]", "[5000ms]")
            .replace("[1h]", "[60000ms]")
            .replace("30s", "1000ms");
        assert_eq!(shorter, expected);
        // A text that would be changed, no duration, and none at all.
        assert!(sooner(FILE, 60, Duration::ZERO).is_err());
        assert!(sooner(&FILE.replace("15s", "15 s"), 60, Duration::ZERO).is_err());
        assert!(sooner("groups: []\n", 60, Duration::ZERO).is_err());
        Ok(())
    }
}
