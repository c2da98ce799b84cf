//! `observer flows`: the busiest flows once, from a running agent.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use ratatui::crossterm::terminal;

use crate::cli::Access;
use crate::client::Client;
use crate::flows::Sort;
use crate::table::plain;

/// Prints them as a table, of as many columns as a terminal has room for; or the JSON as the agent gives it.
pub fn flows(access: &Access, limit: usize, json: bool) -> anyhow::Result<()> {
    let client = Client::new(access)?;
    let text = if json {
        let mut text = harmless(&client.text(&format!("/flows?limit={limit}"))?);
        text.push('\n');
        text
    } else {
        let room = io::stdout().is_terminal().then(terminal::size).transpose().ok().flatten();
        plain(&client.flows(limit, Sort::Bytes)?.flows, room.map(|(columns, _)| usize::from(columns)))
    };
    print(&text)?;
    Ok(())
}

/// JSON's own escapes spare DEL and the control characters of ISO 6429's second half, which terminals act on, and
/// Unicode's ends of lines. Outside of strings there are none, so it means the same.
pub(crate) fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.trim_end().chars() {
        if matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}') {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

/// Writes to standard output. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn json_means_the_same_and_does_nothing_to_a_terminal() {
        let name = "a\u{9b}2J\u{7f}\x1b[2J日本";
        let json = serde_json::json!({ "process": name }).to_string();
        let text = harmless(&json);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["process"], name);
    }
}
