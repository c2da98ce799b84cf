//! The rows of a view, in the columns that there is room for.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{self, Cell, Paragraph};

use super::{FAINT, TITLE, WARNING};
use crate::table::{Head, Kind, Row, Table, choose, fit, width};
use crate::top::history::bars;
use crate::top::state::{Connection, Order, State};

/// How wide a picture of the past is.
const PAST: std::ops::RangeInclusive<usize> = 8..=24;
/// As wide as an address gets: longer ones, of UNIX sockets, are cut.
const ADDRESS: usize = 46;

/// Draws the rows of the view.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let table = state.view.table();
    let wanted = state.rows();
    let selected = state.selected(&wanted);
    let page = usize::from(area.height.saturating_sub(1));
    let offset = state.scroll(selected, page);
    let wanted = state.rows();
    let count = wanted.len();
    let shown = &wanted[offset.min(count)..(offset + page).min(count)];

    let order = state.order();
    let cells: Vec<Vec<String>> = shown
        .iter()
        .map(|row| (0..table.heads.len()).map(|column| row.value(column).text()).collect())
        .collect();
    let empty = table.empty(&wanted);
    let layout = Widths::new(&table, &cells, &empty, usize::from(area.width), order);
    let is_stale = matches!(state.connection, Connection::Lost { .. });
    let drawn = shown.iter().zip(&cells).enumerate().map(|(at, (row, cells))| {
        let drawn = widgets::Row::new(line(*row, &table, cells, &layout, state));
        let drawn = if is_stale { drawn.style(FAINT) } else { drawn };
        if offset + at == selected { drawn.reversed() } else { drawn }
    });
    let mut headings: Vec<Cell<'_>> =
        layout.columns.iter().map(|&(at, _)| heading(table.heads[at], at, order)).collect();
    if layout.past > 0 {
        headings.push(Cell::new("LAST MINUTE"));
    }
    let widths =
        layout.columns.iter().map(|&(_, width)| width).chain((layout.past > 0).then_some(layout.past));
    let drawn = widgets::Table::new(drawn, widths.map(|width| Constraint::Length(width as u16)))
        .header(widgets::Row::new(headings).style(TITLE.fg(Color::Cyan)))
        .column_spacing(1);
    frame.render_widget(drawn, area);
    if count == 0 && page > 1 {
        let below = Rect { y: area.y + 2, height: 1, ..area };
        frame.render_widget(Paragraph::new(nothing(state)).alignment(Alignment::Center).style(FAINT), below);
    }
}

fn nothing(state: &State) -> &'static str {
    match state.connection {
        Connection::Waiting => "waiting for the first numbers",
        _ if state.filter_text.is_empty() => state.view.table().none,
        _ => "nothing matches the filter; Esc drops it",
    }
}

/// The heading of a column, which tells the order.
fn heading(head: &Head, at: usize, order: Order) -> Cell<'static> {
    let text = if order.column == Some(at) {
        format!("{}{}", head.title, if order.descending { '↓' } else { '↑' })
    } else {
        head.title.to_owned()
    };
    let line = Line::raw(text);
    Cell::new(if head.kind == Kind::Number { line.right_aligned() } else { line })
}

/// How wide what is.
struct Widths {
    /// Places of columns, and their widths.
    columns: Vec<(usize, usize)>,
    /// The width of the picture of the past; 0 for none.
    past: usize,
}

impl Widths {
    fn new(table: &Table, cells: &[Vec<String>], empty: &[bool], room: usize, order: Order) -> Self {
        let heads = &table.heads;
        let mut widths: Vec<usize> = heads.iter().map(|head| usize::from(head.width)).collect();
        if let Some(sorted) = order.column {
            // The arrow of the sorted column needs room.
            widths[sorted] = widths[sorted].max(width(heads[sorted].title) + 1);
        }
        let chosen = choose(heads, &widths, empty, (1, room), order.column);
        let mut left = room.saturating_sub(chosen.iter().map(|&at| widths[at] + 1).sum());
        for &at in &chosen {
            if matches!(heads[at].kind, Kind::Address | Kind::Path) {
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

fn line(
    row: &dyn Row,
    table: &Table,
    cells: &[String],
    widths: &Widths,
    state: &State,
) -> Vec<Cell<'static>> {
    let cell = |&(at, width): &(usize, usize)| {
        let column = table.heads[at];
        let text = fit(&cells[at], width, column.kind);
        let is_nothing = matches!(text.as_str(), "0" | "0.0" | "-");
        let style = match column.title {
            _ if is_nothing => FAINT,
            "OVER" | "RETX" | "ERR%" | "ERRS" => Style::new().fg(WARNING),
            "PROCESS" | "ROUTE" | "QUEUE" => TITLE,
            _ => Style::new(),
        };
        let line = Line::styled(text, style);
        Cell::new(if column.kind == Kind::Number { line.right_aligned() } else { line })
    };
    let mut line: Vec<Cell<'static>> = widths.columns.iter().map(cell).collect();
    if widths.past > 0
        && let Some(past) = state.history.of_row(row)
    {
        line.push(Cell::new(Line::styled(
            bars(past, state.unshown, widths.past),
            Style::new().fg(Color::Cyan),
        )));
    }
    line
}
