//! The screen: a state in, a frame out.

mod help;
mod rows;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::history::bars;
use super::state::{Connection, State};
use super::view::View;
use crate::processes::{Overview, Process};
use crate::recent::Recent;
use crate::show::{clean, count, duration, percent, scaled};
use crate::table::{Kind, Row, fit};

/// What headings look like. Colours are the terminal's own sixteen, so that they suit its background.
const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
/// What is there, and not worth a look.
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const GOOD: Color = Color::Green;
const WARNING: Color = Color::Yellow;
const BAD: Color = Color::Red;
/// Rows below which there is only the table.
const SMALL: u16 = 12;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, now: Instant) {
    let head = if frame.area().height < SMALL { 1 } else { 7 };
    let parts = [Constraint::Length(head), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [top, tabs, table, bottom] = Layout::vertical(parts).areas(frame.area());
    draw_head(frame, top, state, now);
    draw_tabs(frame, tabs, state);
    rows::draw(frame, table, state);
    frame.render_widget(foot(state, usize::from(bottom.width)), bottom);
    if state.typing {
        let column = (" / ".len() + crate::table::width(&state.filter_text)) as u16;
        frame.set_cursor_position((bottom.x + column.min(bottom.width.saturating_sub(1)), bottom.y));
    }
    if state.help {
        help::draw(frame, state.view);
    }
}

/// Draws the head: which agent is asked, whether it answers, and the host's own numbers.
fn draw_head(frame: &mut Frame<'_>, area: Rect, state: &State, now: Instant) {
    let overview = &state.sample.overview;
    let version = if overview.version.is_empty() { "" } else { &format!(" {}", clean(&overview.version)) };
    let title = Line::from(vec![
        Span::styled(format!(" observer{version}"), TITLE.fg(Color::Cyan)),
        Span::styled(format!("  {}", state.source), FAINT),
    ]);
    let word = connection(state, now);
    let lines: Vec<Line<'_>> = if area.height == 1 {
        vec![title]
    } else {
        vec![
            title,
            rates(state, overview, usize::from(area.width)),
            requests(overview),
            open(overview),
            sessions(overview),
            oversized(overview),
            hint(overview, usize::from(area.width)),
        ]
    };
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
    let first = Rect { height: 1, ..area };
    let room = (word.width() as u16).min(first.width);
    frame.render_widget(word, Rect { x: first.right() - room, width: room, ..first });
}

/// How it goes with whoever is asked, in a word or two.
fn connection(state: &State, now: Instant) -> Span<'static> {
    if let Some(lost) = state.lost_for(now) {
        let since = duration(lost.as_secs() as f64);
        return Span::styled(format!(" no answer for {since} "), Style::new().fg(BAD).reversed());
    }
    if state.paused {
        return Span::styled(" paused ", Style::new().fg(WARNING).reversed());
    }
    match state.connection {
        Connection::Waiting => Span::styled("waiting ", FAINT),
        _ => Span::styled("● live ", Style::new().fg(GOOD)),
    }
}

fn label(text: &'static str) -> Span<'static> {
    Span::styled(format!(" {text:<12}"), FAINT)
}

/// Messages and bytes a second, with their past.
fn rates(state: &State, overview: &Overview, width: usize) -> Line<'static> {
    let bytes: f64 = overview.processes.iter().filter_map(Row::rate).sum();
    let (numbers, room) = (2 * (13 + 8) + 3, 60);
    let room = (width.saturating_sub(numbers) / 2).min(room);
    let past = |samples| Span::styled(bars(samples, state.unshown, room), Style::new().fg(Color::Cyan));
    Line::from(vec![
        label("messages/s"),
        Span::styled(format!("{:>6}  ", scaled(overview.messages_per_second)), TITLE),
        past(&state.history.messages),
        Span::raw("  "),
        label("bytes/s"),
        Span::styled(format!("{:>6}  ", scaled(bytes)), TITLE),
        past(&state.history.bytes),
    ])
}

/// Open connections by protocol, the most first.
fn open(overview: &Overview) -> Line<'static> {
    let mut protocols: Vec<(&String, u64)> =
        overview.connections.iter().map(|(protocol, &open)| (protocol, open)).collect();
    protocols.retain(|&(_, open)| open > 0);
    protocols.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
    let all: u64 = protocols.iter().map(|&(_, open)| open).sum();
    let mut spans = vec![label("connections"), Span::styled(format!("{:>6}  ", count(all)), TITLE)];
    let parts = protocols.iter().map(|(protocol, open)| (clean(protocol).into_owned(), count(*open), None));
    spans.extend(listed(parts));
    Line::from(spans)
}

fn sum<T: std::iter::Sum>(overview: &Overview, number: impl Fn(&Process) -> T) -> T {
    overview.processes.iter().map(number).sum()
}

/// Requests of HTTP that the host's servers answer, and those that its clients make, wherever they go.
fn requests(overview: &Overview) -> Line<'static> {
    let of = |role: &str, number: fn(&Recent) -> f64| {
        sum(overview, |process| process.requests.get(role).map_or(0.0, number))
    };
    let [served, made] = ["server", "client"].map(|role| of(role, |recent| recent.requests_per_second));
    let [failed, vain] = ["server", "client"].map(|role| of(role, |recent| recent.errors_per_second));
    let errors = |failed, all| {
        let color = (failed > 0.0).then_some(WARNING);
        let share = percent(failed, all);
        ("errors".to_owned(), if share == "-" { share } else { share + "%" }, color)
    };
    let mut spans = vec![label("requests/s"), Span::styled(format!("{:>6}  ", scaled(served)), TITLE)];
    let parts = [errors(failed, served), ("as clients".to_owned(), scaled(made), None), errors(vain, made)];
    spans.extend(listed(parts.into_iter()));
    Line::from(spans)
}

/// Sessions of Postgres and Redis by state.
fn sessions(overview: &Overview) -> Line<'static> {
    const STATES: [(&str, &str); 6] = [
        ("active", "active"),
        ("idle", "idle"),
        ("idle_in_transaction", "in transaction"),
        ("waiting", "waiting"),
        ("replication", "replication"),
        ("blocked", "blocked"),
    ];
    let states = STATES.map(|(state, name)| (name, sum(overview, |process| process.in_state(state))));
    let all = states.iter().map(|&(_, number)| number).sum();
    let mut spans = vec![label("sessions"), Span::styled(format!("{:>6}  ", count(all)), TITLE)];
    spans.extend(listed(states.into_iter().map(|(name, number)| (name.to_owned(), count(number), None))));
    Line::from(spans)
}

/// What is worth a look where it is not 0; and Redis' hit rate.
fn oversized(overview: &Overview) -> Line<'static> {
    let warn = |number: u64| (number > 0).then_some(WARNING);
    let oversized = sum(overview, |process| process.oversized);
    let retransmits = sum(overview, |process| process.retransmits);
    let (hits, misses) =
        (sum(overview, |process| process.cache_hits), sum(overview, |process| process.cache_misses));
    let rate = percent(hits as f64, (hits + misses) as f64);
    let color = warn(oversized).map_or(TITLE, |color| TITLE.fg(color));
    let mut spans = vec![label("oversized"), Span::styled(format!("{:>6}  ", count(oversized)), color)];
    let parts = [
        ("rate spikes", count(overview.spikes), warn(overview.spikes)),
        ("retransmits", count(retransmits), None),
        ("cache hits", if rate == "-" { rate } else { rate + "%" }, None),
    ];
    spans.extend(listed(parts.into_iter().map(|(name, number, color)| (name.to_owned(), number, color))));
    Line::from(spans)
}

/// What could be read, and is not.
fn hint(overview: &Overview, width: usize) -> Line<'static> {
    let text = overview.tls_hint.as_deref().map(|hint| fit(&format!(" {}", clean(hint)), width, Kind::Text));
    Line::styled(text.unwrap_or_default(), Style::new().fg(WARNING))
}

/// `name 12 · other 3`.
fn listed(
    parts: impl Iterator<Item = (String, String, Option<Color>)>,
) -> impl Iterator<Item = Span<'static>> {
    parts.enumerate().flat_map(|(at, (name, number, color))| {
        let between = if at == 0 { "" } else { " · " };
        let style = color.map_or(Style::new(), |color| TITLE.fg(color));
        [Span::styled(format!("{between}{name} "), FAINT), Span::styled(number, style)]
    })
}

/// The views, and what of them is shown how.
fn draw_tabs(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let tabs = View::ALL.iter().zip(1..).map(|(&view, number)| {
        let style = if state.view == view { TITLE.reversed() } else { FAINT };
        Span::styled(format!(" {number} {} ", view.name()), style)
    });
    let (shown, all) = (state.rows().len(), state.view.count(&state.sample));
    let mut spans: Vec<Span<'_>> = tabs.collect();
    spans.push(Span::raw(format!("  {shown} of {all}")));
    spans.push(Span::styled(format!(" · by {}", order_title(state)), FAINT));
    if !state.filter_text.is_empty() {
        spans.push(Span::styled(" · filter ", FAINT));
        spans.push(Span::styled(clean(&state.filter_text).into_owned(), TITLE.fg(Color::Cyan)));
    }
    frame.render_widget(Line::from(spans), area);
}

fn order_title(state: &State) -> String {
    let (table, order) = (state.view.table(), state.order());
    let arrow = if order.descending { '↓' } else { '↑' };
    let head = order.column.and_then(|at| table.heads.get(at));
    head.map_or_else(|| format!("{} ↓", table.rate), |head| format!("{} {arrow}", head.title))
}

/// What can be done; or what has been typed, or what is wrong.
fn foot(state: &State, room: usize) -> Line<'static> {
    const KEYS: [(&str, &str); 7] = [
        ("q", "quit"),
        ("Tab", "view"),
        ("/", "filter"),
        ("← →", "sort"),
        ("Enter", "its flows"),
        ("Space", "pause"),
        ("?", "help"),
    ];
    if state.typing {
        let text = format!(" / {}", clean(&state.filter_text));
        let hint = Span::styled("   Enter keeps, Esc drops", FAINT);
        return Line::from(vec![Span::styled(text, TITLE), hint]);
    }
    if let Connection::Lost { problem, .. } = &state.connection {
        return Line::styled(fit(&format!(" {problem}"), room, Kind::Text), Style::new().fg(BAD));
    }
    if let Some(notice) = &state.notice {
        return Line::styled(fit(&format!(" {notice}"), room, Kind::Text), Style::new().fg(WARNING));
    }
    let pair = |(key, does): &(&str, &str)| {
        [Span::styled(format!(" {key} "), TITLE), Span::styled(format!("{does} "), FAINT)]
    };
    KEYS.iter().flat_map(pair).collect()
}
