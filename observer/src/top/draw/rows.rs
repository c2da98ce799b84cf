//! The rows of either view, in the columns that there is room for.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as Drawn, Table};

use super::{FAINT, TITLE, WARNING};
use crate::table::{Column, Kind, Listed, choose, fit, width};
use crate::top::history::{History, bars};
use crate::top::state::{Connection, Order, State};

/// How wide a picture of the past is.
const PAST: std::ops::RangeInclusive<usize> = 8..=24;
/// As wide as an address gets: longer ones, of UNIX sockets, are cut.
const ADDRESS: usize = 46;

/// Draws the rows that `rows` picks.
pub(super) fn draw<T: Listed>(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &mut State,
    rows: impl Fn(&State) -> Vec<&T>,
) {
    let wanted = rows(state);
    let count = wanted.len();
    let selected = state.selected(&wanted);
    let page = usize::from(area.height.saturating_sub(1));
    let offset = state.scroll(selected, page);
    let wanted = rows(state);
    let shown = &wanted[offset.min(count)..(offset + page).min(count)];

    let order = state.order();
    let cells: Vec<Vec<String>> = shown
        .iter()
        .map(|row| T::COLUMNS.iter().map(|column| (column.value)(row).text()).collect())
        .collect();
    let layout = Widths::new::<T>(&cells, usize::from(area.width), order);
    let is_stale = matches!(state.connection, Connection::Lost { .. });
    let drawn = shown.iter().zip(&cells).enumerate().map(|(at, (row, cells))| {
        let drawn = Drawn::new(line::<T>(row, cells, &layout, &state.history, state.unshown));
        let drawn = if is_stale { drawn.style(FAINT) } else { drawn };
        if offset + at == selected { drawn.reversed() } else { drawn }
    });
    let mut headings: Vec<Cell<'_>> =
        layout.columns.iter().map(|&(at, _)| heading(T::COLUMNS, at, order)).collect();
    if layout.past > 0 {
        headings.push(Cell::new("LAST MINUTE"));
    }
    let widths =
        layout.columns.iter().map(|&(_, width)| width).chain((layout.past > 0).then_some(layout.past));
    let table = Table::new(drawn, widths.map(|width| Constraint::Length(width as u16)))
        .header(Drawn::new(headings).style(TITLE.fg(Color::Cyan)))
        .column_spacing(1);
    frame.render_widget(table, area);
    if count == 0 && page > 1 {
        let below = Rect { y: area.y + 2, height: 1, ..area };
        frame.render_widget(Paragraph::new(nothing(state)).alignment(Alignment::Center).style(FAINT), below);
    }
}

fn nothing(state: &State) -> &'static str {
    match state.connection {
        Connection::Waiting => "waiting for the first numbers",
        _ if state.filter_text.is_empty() => "nothing is open",
        _ => "nothing matches the filter; Esc drops it",
    }
}

/// The heading of a column, which tells the order.
fn heading<T>(columns: &[Column<T>], at: usize, order: Order) -> Cell<'static> {
    let column = &columns[at];
    let text = if order.column == Some(at) {
        format!("{}{}", column.title, if order.descending { '↓' } else { '↑' })
    } else {
        column.title.to_owned()
    };
    let line = Line::raw(text);
    Cell::new(if column.kind == Kind::Number { line.right_aligned() } else { line })
}

/// How wide what is.
struct Widths {
    /// Places of columns, and their widths.
    columns: Vec<(usize, usize)>,
    /// The width of the picture of the past; 0 for none.
    past: usize,
}

impl Widths {
    fn new<T: Listed>(cells: &[Vec<String>], room: usize, order: Order) -> Self {
        let mut widths: Vec<usize> = T::COLUMNS.iter().map(|column| usize::from(column.width)).collect();
        if let Some(sorted) = order.column {
            // The arrow of the sorted column needs room.
            widths[sorted] = widths[sorted].max(width(T::COLUMNS[sorted].title) + 1);
        }
        let chosen = choose::<T>(&widths, 1, room, order.column);
        let mut left = room.saturating_sub(chosen.iter().map(|&at| widths[at] + 1).sum());
        for &at in &chosen {
            if T::COLUMNS[at].kind == Kind::Address {
                let widest = cells.iter().map(|row| width(&row[at])).max().unwrap_or_default().min(ADDRESS);
                let more = widest.saturating_sub(widths[at]).min(left);
                widths[at] += more;
                left -= more;
            }
        }
        let past = if left < *PAST.start() { 0 } else { left.min(*PAST.end()) };
        Self { columns: chosen.into_iter().map(|at| (at, widths[at])).collect(), past }
    }
}

fn line<T: Listed>(
    row: &T,
    cells: &[String],
    widths: &Widths,
    history: &History,
    unshown: usize,
) -> Vec<Cell<'static>> {
    let cell = |&(at, width): &(usize, usize)| {
        let column = &T::COLUMNS[at];
        let text = fit(&cells[at], width, column.kind);
        let is_nothing = matches!(text.as_str(), "0" | "-");
        let style = match column.title {
            _ if is_nothing => FAINT,
            "OVER" | "RETX" => Style::new().fg(WARNING),
            "PROCESS" => TITLE,
            _ => Style::new(),
        };
        let line = Line::styled(text, style);
        Cell::new(if column.kind == Kind::Number { line.right_aligned() } else { line })
    };
    let mut line: Vec<Cell<'static>> = widths.columns.iter().map(cell).collect();
    if widths.past > 0
        && let Some(past) = history.of_row(row)
    {
        line.push(Cell::new(Line::styled(bars(past, unshown, widths.past), Style::new().fg(Color::Cyan))));
    }
    line
}
