//! A table for a pipe or a file: every column as wide as its widest cell, two spaces between.

use super::{Kind, Listed, Table, choose, width};

/// The heading and a line for each row; of the columns, those that fit into `room`. No cell is empty, so that
/// whoever splits lines finds as many.
pub fn plain<T: Listed>(rows: &[T], room: Option<usize>) -> String {
    let table = Table::of::<T>();
    let heading = table.heads.iter().map(|head| head.title.to_owned()).collect();
    let cells = rows.iter().map(|row| {
        let cell = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        T::COLUMNS.iter().map(|column| cell((column.value)(row).text())).collect()
    });
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(cells).collect();
    let widest = |at: usize| lines.iter().map(|line| width(&line[at])).max().unwrap_or_default();
    let widths: Vec<usize> = (0..table.heads.len()).map(widest).collect();
    let empty = table.empty(&rows.iter().collect::<Vec<_>>());
    let chosen = choose(&table.heads, &widths, &empty, (2, room.unwrap_or(usize::MAX / 2)), None);
    let mut text = String::new();
    for line in &lines {
        let start = text.len();
        for &at in &chosen {
            let padding = " ".repeat(widths[at] - width(&line[at]));
            let is_number = table.heads[at].kind == Kind::Number;
            let (before, after) = if is_number { (&*padding, "") } else { ("", &*padding) };
            text.extend([before, &line[at], after, "  "]);
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{PerDirection, Row};

    #[test]
    fn columns_stand_below_each_other_and_none_is_empty() {
        let row = |process: &str, local: &str, sent| Row {
            process: process.to_owned(),
            pid: 7,
            container: String::new(),
            role: "client".to_owned(),
            protocol: "redis".to_owned(),
            local: local.to_owned(),
            remote: "[::1]:6379".to_owned(),
            client: String::new(),
            netns: 1,
            bytes_per_second: PerDirection::new([sent, 0.0]),
            messages_per_second: PerDirection::default(),
            bytes: PerDirection::new([1_234_567, 0]),
            messages: PerDirection::default(),
            age_seconds: 61.0,
            rtt_seconds: None,
            retransmits: 0,
            http: None,
        };
        let rows = [row("a", "[::1]:40000", 1_500.0), row("日本\x1b[2J", "", 0.0)];
        let text = plain(&rows, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].split_whitespace().eq([
            "7",
            "a",
            "-",
            "redis",
            "client",
            "[::1]:40000",
            "[::1]:6379",
            "1.50k",
            "0",
            "0",
            "0",
            "1.23M",
            "0",
            "-",
            "-",
            "1m01s",
            "-",
            "0"
        ]));
        assert!(lines[2].contains("日本\\u{1b}[2J"), "{text}");
        assert!(!text.contains('\x1b') && lines.iter().all(|line| !line.ends_with(' ')), "{text}");
        let at = |line: &str| line.find("client").map(|at| width(&line[..at]));
        assert_eq!(at(lines[1]), at(lines[2]), "{text}");
        assert!(plain(&rows, Some(80)).lines().all(|line| width(line) <= 80), "{}", plain(&rows, Some(80)));
    }
}
