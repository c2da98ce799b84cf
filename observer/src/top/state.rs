//! What the screen is about: data and keys in, and no terminal.
//!
//! ```text
//!             data ──► sample, history ─┐
//!  keys ──► view, order, filter, cursor ┴──► rows to draw; what to ask for next
//! ```

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::filter::Filter;
use super::history::History;
use super::source::{Query, Sample};
use super::view::View;
use crate::show::clean;
use crate::table::{Kind, Row};

/// How long a filter may get.
const FILTER: usize = 200;

/// By what rows are ordered: a column, or as the agent does, which is the busiest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: Option<usize>,
    pub(super) descending: bool,
}

/// The selected row. It is followed where it goes; the first place stays the first place, whoever has it.
#[derive(Debug, Default)]
struct Cursor {
    at: usize,
    id: Option<String>,
    /// The first row on the screen.
    offset: usize,
}

/// How it goes with whoever is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// Nothing has come yet.
    Waiting,
    Live,
    /// Since then no answer.
    Lost {
        since: Instant,
        problem: String,
    },
}

/// What a key asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Continue,
    Quit,
    /// Ctrl-Z, which a terminal in raw mode does not turn into a signal.
    Suspend,
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    /// The agent that is asked, as the head line tells it.
    pub(super) source: String,
    pub(super) view: View,
    pub(super) filter_text: String,
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) connection: Connection,
    /// The newest thing that was logged.
    pub(super) notice: Option<String>,
    pub(super) sample: Sample,
    pub(super) history: History,
    /// Samples that have come since the pause.
    pub(super) unshown: usize,
    filter: Filter,
    orders: [Order; View::ALL.len()],
    cursors: [Cursor; View::ALL.len()],
    /// Rows that the screen has room for.
    page: usize,
    /// What is shown once the pause is over.
    held: Option<Sample>,
}

impl State {
    /// Before anything has come.
    pub(super) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            view: View::Processes,
            filter_text: String::new(),
            typing: false,
            help: false,
            paused: false,
            connection: Connection::Waiting,
            notice: None,
            sample: Sample::default(),
            history: History::default(),
            unshown: 0,
            filter: Filter::default(),
            orders: Default::default(),
            cursors: Default::default(),
            page: 1,
            held: None,
        }
    }

    /// What to ask for.
    pub(super) fn query(&self) -> Query {
        self.view.query(!self.filter.is_empty(), self.order().column)
    }

    /// Takes an answer.
    pub(super) fn on_answer(&mut self, answer: Result<Sample, String>, now: Instant) {
        match answer {
            Ok(sample) => {
                self.connection = Connection::Live;
                self.history.push(&sample, self.paused);
                if self.paused {
                    self.unshown += 1;
                    self.held = Some(sample);
                } else {
                    self.show(sample);
                }
            }
            Err(problem) => {
                let since = match self.connection {
                    Connection::Lost { since, .. } => since,
                    _ => now,
                };
                self.connection = Connection::Lost { since, problem: clean(&problem).into_owned() };
            }
        }
    }

    /// Takes a line of the log.
    pub(super) fn on_notice(&mut self, line: &str) {
        self.notice = Some(clean(line.trim_end()).into_owned());
    }

    /// How long nobody has answered.
    pub(super) fn lost_for(&self, now: Instant) -> Option<Duration> {
        match self.connection {
            Connection::Lost { since, .. } => Some(now.saturating_duration_since(since)),
            _ => None,
        }
    }

    fn show(&mut self, sample: Sample) {
        self.sample = sample;
        self.settle_cursor();
    }

    /// The order of the view's rows.
    pub(super) fn order(&self) -> Order {
        self.orders[self.view as usize]
    }

    /// The view's rows that are wanted, in order.
    pub(super) fn rows(&self) -> Vec<&dyn Row> {
        let mut rows = self.view.rows(&self.sample);
        rows.retain(|row| self.filter.matches(*row));
        let Order { column, descending } = self.order();
        if let Some(column) = column {
            // Stable: equals stay in the agent's order, the busiest first.
            rows.sort_by(|one, other| {
                let order = one.value(column).order(other.value(column));
                if descending { order.reverse() } else { order }
            });
        }
        rows
    }

    /// The place of the selected row among these.
    pub(super) fn selected(&self, rows: &[&dyn Row]) -> usize {
        let cursor = &self.cursors[self.view as usize];
        let followed = cursor.id.as_ref().and_then(|id| rows.iter().position(|row| row.id() == *id));
        followed.unwrap_or(cursor.at).min(rows.len().saturating_sub(1))
    }

    /// The first row to draw where there is room for `page`, so that the selected one is on the screen.
    pub(super) fn scroll(&mut self, selected: usize, page: usize) -> usize {
        self.page = page.max(1);
        let cursor = &mut self.cursors[self.view as usize];
        cursor.offset = cursor.offset.min(selected).max((selected + 1).saturating_sub(self.page));
        cursor.offset
    }

    /// Takes a key.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Outcome {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Outcome::Quit,
            KeyCode::Char('z') if control => return Outcome::Suspend,
            _ if self.typing => self.type_filter(key.code, control),
            KeyCode::Char('q') if !control => return Outcome::Quit,
            _ if self.help => self.help = false,
            KeyCode::Char(letter) if !control => self.on_letter(letter),
            code => self.on_other(code),
        }
        Outcome::Continue
    }

    fn type_filter(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter_text.clear();
            }
            KeyCode::Char('u') if control => self.filter_text.clear(),
            KeyCode::Backspace => drop(self.filter_text.pop()),
            KeyCode::Char(letter) if !control && !letter.is_control() && self.filter_text.len() < FILTER => {
                self.filter_text.push(letter);
            }
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => self.on_other(code),
            _ => {}
        }
        self.filter = Filter::new(&self.filter_text);
    }

    fn on_letter(&mut self, letter: char) {
        match letter {
            '?' => self.help = true,
            '/' => self.typing = true,
            ' ' => self.pause(),
            '0' => self.orders[self.view as usize] = Order::default(),
            _ => match View::of_key(letter) {
                Some(view) => self.view = view,
                None => self.sort_by_key(letter),
            },
        }
    }

    fn on_other(&mut self, code: KeyCode) {
        let page = self.page.cast_signed();
        match code {
            KeyCode::Tab => self.view = self.view.beside(true),
            KeyCode::BackTab => self.view = self.view.beside(false),
            KeyCode::Esc => {
                self.filter_text.clear();
                self.filter = Filter::default();
            }
            KeyCode::Left => self.sort_beside(false),
            KeyCode::Right => self.sort_beside(true),
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            KeyCode::PageUp => self.move_by(-page),
            KeyCode::PageDown => self.move_by(page),
            KeyCode::Home => self.move_by(isize::MIN / 2),
            KeyCode::End => self.move_by(isize::MAX / 2),
            KeyCode::Enter if self.view == View::Processes => self.flows_of_selected(),
            _ => {}
        }
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        self.unshown = 0;
        if let Some(sample) = self.held.take() {
            self.show(sample);
        }
    }

    fn sort_by_key(&mut self, letter: char) {
        if let Some(at) = self.view.table().heads.iter().position(|head| head.key == letter) {
            self.sort_by(at);
        }
    }

    /// By a column; the other way round if it is sorted by that already.
    fn sort_by(&mut self, at: usize) {
        let is_number = self.view.table().heads.get(at).is_some_and(|head| head.kind == Kind::Number);
        let order = &mut self.orders[self.view as usize];
        let again = order.column == Some(at);
        *order = Order { column: Some(at), descending: if again { !order.descending } else { is_number } };
    }

    /// Sorts by the next column, or by the one before.
    fn sort_beside(&mut self, next: bool) {
        let columns = self.view.table().heads.len();
        let at = match (self.order().column, next) {
            (None, true) => 0,
            (None, false) => columns - 1,
            (Some(at), true) => (at + 1) % columns,
            (Some(at), false) => (at + columns - 1) % columns,
        };
        self.sort_by(at);
    }

    fn move_by(&mut self, distance: isize) {
        let rows = self.rows();
        let at = self.selected(&rows).saturating_add_signed(distance).min(rows.len().saturating_sub(1));
        let id = rows.get(at).filter(|_| at > 0).map(|row| row.id());
        let cursor = &mut self.cursors[self.view as usize];
        (cursor.at, cursor.id) = (at, id);
    }

    /// Where the selected row is now: should it go, the cursor stays near.
    fn settle_cursor(&mut self) {
        let at = self.selected(&self.rows());
        self.cursors[self.view as usize].at = at;
    }

    fn flows_of_selected(&mut self) {
        let rows = self.rows();
        let texts = rows.get(self.selected(&rows)).map(|row| row.texts()).unwrap_or_default();
        let Some((_, pid)) = texts.into_iter().find(|(name, _)| *name == "pid") else { return };
        self.filter_text = format!("pid={pid}");
        self.filter = Filter::new(&self.filter_text);
        self.view = View::Flows;
    }
}
