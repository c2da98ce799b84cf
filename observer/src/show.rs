//! How quantities and strangers' names are shown to people.

use std::borrow::Cow;
use std::time::Duration;

/// A number in at most five characters: three digits, and `k`, `M`, `G`, `T` for powers of a thousand.
pub fn scaled(number: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    if !number.is_finite() {
        return "-".to_owned();
    }
    let mut number = number.max(0.0);
    let mut unit = 0;
    // Whatever would be rounded to a thousand is one of the next unit.
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let digits = match (unit, number) {
        (_, number) if number >= 99.95 => 0,
        (_, number) if number >= 9.995 => usize::from(unit > 0 || number < 99.95 && number.fract() != 0.0),
        (0, number) if number.fract() == 0.0 => 0,
        (0, _) => 1,
        _ => 2,
    };
    format!("{number:.digits$}{}", UNITS[unit])
}

/// A whole number, scaled like others.
pub fn count(number: u64) -> String {
    scaled(number as f64)
}

/// A time in at most six characters: two units at most, from microseconds to days.
pub fn duration(seconds: f64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    if seconds < 0.000_999_5 {
        return format!("{:.0}µs", seconds * 1e6);
    }
    if seconds < 0.0995 {
        return format!("{:.1}ms", seconds * 1e3);
    }
    if seconds < 0.9995 {
        return format!("{:.0}ms", seconds * 1e3);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX).as_secs();
    match whole {
        0..MINUTE => format!("{whole}s"),
        MINUTE..HOUR => format!("{}m{:02}s", whole / MINUTE, whole % MINUTE),
        HOUR..DAY => format!("{}h{:02}m", whole / HOUR, whole % HOUR / MINUTE),
        _ => format!("{}d{:02}h", whole / DAY, whole % DAY / HOUR),
    }
}

/// The part of `all` that `part` is, in percent; nothing of nothing.
pub fn percent(part: f64, all: f64) -> String {
    if all <= 0.0 {
        return "-".to_owned();
    }
    // All of it, and none of it, are told from nearly so.
    let percent = part / all * 100.0;
    if part >= all {
        "100.0".to_owned()
    } else if percent > 0.0 && percent < 0.05 {
        "<0.1".to_owned()
    } else {
        format!("{:.1}", percent.clamp(0.0, 99.9))
    }
}

/// A text that strangers have chosen, such as a process's name, with nothing in it that a terminal would act
/// on or that would reorder a line: control characters and others that are not seen are spelled out.
pub fn clean(text: &str) -> Cow<'_, str> {
    let is_plain = |character: char| {
        matches!(character, '"' | '\'' | '\\') || character.escape_debug().next() != Some('\\')
    };
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_plain(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_debug());
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (number, shown) in [
            (0.0, "0"),
            (0.04, "0.0"),
            (0.25, "0.2"),
            (1.0, "1"),
            (9.94, "9.9"),
            (9.996, "10.0"),
            (12.0, "12"),
            (12.34, "12.3"),
            (99.96, "100"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (1_234.0, "1.23k"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (999_600.0, "1.00M"),
            (1.5e18, "1500P"),
            (-1.0, "0"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(scaled(number), shown, "{number}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, shown) in [
            (0.0, "0µs"),
            (0.000_085, "85µs"),
            (0.000_999_9, "1.0ms"),
            (0.0123, "12.3ms"),
            (0.25, "250ms"),
            (1.0, "1.0s"),
            (59.4, "59s"),
            (59.6, "1m00s"),
            (3_725.0, "1h02m"),
            (266_400.0, "3d02h"),
            (-1.0, "-"),
        ] {
            assert_eq!(duration(seconds), shown, "{seconds}");
        }
    }

    #[test]
    fn a_rate_is_whole_only_when_it_is() {
        assert_eq!(percent(0.0, 0.0), "-");
        assert_eq!(percent(1.0, 3.0), "33.3");
        assert_eq!(percent(99_999.0, 100_000.0), "99.9");
        assert_eq!(percent(5.0, 5.0), "100.0");
        assert_eq!(percent(1.0, 100_000.0), "<0.1");
        assert_eq!(percent(0.0, 100_000.0), "0.0");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        assert!(matches!(clean("nginx: worker \"a\\b'"), Cow::Borrowed(_)));
        assert_eq!(clean("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean("\r\n\t\0\x7f\u{9b}31m"), "\\r\\n\\t\\0\\u{7f}\\u{9b}31m");
        // Reordered, invisible.
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{feff}"), "a\\u{202e}b\\u{200b}c\\u{feff}");
        assert_eq!(clean("größe 日本"), "größe 日本");
        for code in (0..0x20).chain(0x7F..0xA0) {
            let text = char::from_u32(code).map(String::from).unwrap_or_default();
            assert!(!clean(&text).chars().any(char::is_control), "{code:x}");
        }
    }
}
