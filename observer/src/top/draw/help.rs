//! What the keys do, over everything else.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::{FAINT, TITLE};
use crate::table::{Head, Table};
use crate::top::view::View;

const KEYS: [(&str, &str); 11] = [
    ("Tab, 1 to 4", "processes, flows, routes or queues"),
    ("↑ ↓ PgUp PgDn", "select a row; Home, End"),
    ("Enter", "the flows of the selected process"),
    ("/", "filter: words that must all occur"),
    ("", "pid=7, protocol=redis: exactly"),
    ("Esc", "drop the filter"),
    ("← →", "sort by another column"),
    ("0", "the order of the start again"),
    ("Space", "pause, and go on"),
    ("Ctrl-Z", "stop; fg goes on"),
    ("q, Ctrl-C", "quit"),
];

/// From how many columns on there is room to say what each column shows.
const WIDE: u16 = 132;

/// Draws it over the middle.
pub(super) fn draw(frame: &mut Frame<'_>, view: View) {
    let wide = frame.area().width >= WIDE;
    let columns = columns(&view.table(), wide);
    let mut lines: Vec<Line<'_>> = KEYS.iter().map(|(key, does)| pair(key, does)).collect();
    let sort = Line::styled(" sort by a column; again: the other way round", FAINT);
    if wide {
        lines.resize(columns.len().max(lines.len()), Line::raw(""));
        for (line, column) in lines.iter_mut().zip(&columns) {
            line.push_span(Span::raw(" ".repeat(54_usize.saturating_sub(line.width()))));
            line.extend(column.spans.iter().cloned());
        }
        let mut heading = Line::raw(" ".repeat(54));
        heading.extend(sort);
        lines.insert(0, heading);
    } else {
        lines.extend([Line::raw(""), sort]);
        lines.extend(columns.chunks(4).map(|some| some.iter().flat_map(|one| one.spans.clone()).collect()));
    }
    let area = frame.area();
    let width = (lines.iter().map(Line::width).max().unwrap_or_default() as u16 + 4).min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let over = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let block = Block::bordered().title(" any key goes back ").border_style(Style::new().fg(Color::Cyan));
    frame.render_widget(Clear, over);
    frame.render_widget(Paragraph::new(lines).block(block), over);
}

fn pair(key: &str, does: &str) -> Line<'static> {
    Line::from(vec![Span::styled(format!(" {key:<14}"), TITLE), Span::raw(does.to_owned())])
}

fn columns(table: &Table, about: bool) -> Vec<Line<'static>> {
    let line = |head: &&'static Head| {
        let key = Span::styled(format!(" {} ", head.key), TITLE);
        let title = Span::styled(format!("{:<10}", head.title), Style::new().fg(Color::Cyan));
        [key, title].into_iter().chain(about.then(|| Span::raw(head.about))).collect()
    };
    table.heads.iter().map(line).collect()
}
