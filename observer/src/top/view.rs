//! What rows are of. To add a table: its line in [`View`], in each `match` here, and in `source.rs` how it is asked for.

use super::source::{Query, Sample, Wanted};
use crate::flows::{self, Sort};
use crate::processes::Process;
use crate::queues::shown::Queue;
use crate::routes::Route;
use crate::table::{Listed, Row, Table};

/// Rows asked for: more than anybody scrolls through, and more to look for something in.
const ROWS: usize = 1_000;
const ROWS_SEARCHED: usize = 10_000;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Processes,
    Flows,
    Routes,
    Queues,
}

impl View {
    /// All, in the order of their keys, which are digits from 1 on.
    pub(super) const ALL: [Self; 4] = [Self::Processes, Self::Flows, Self::Routes, Self::Queues];

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Processes => "Processes",
            Self::Flows => "Flows",
            Self::Routes => "Routes",
            Self::Queues => "Queues",
        }
    }

    /// Its table.
    pub(super) fn table(self) -> Table {
        match self {
            Self::Processes => Table::of::<Process>(),
            Self::Flows => Table::of::<flows::Row>(),
            Self::Routes => Table::of::<Route>(),
            Self::Queues => Table::of::<Queue>(),
        }
    }

    /// Its rows in the agent's order, the busiest first, or those where most waits.
    pub(super) fn rows(self, sample: &Sample) -> Vec<&dyn Row> {
        match self {
            Self::Processes => erase(&sample.overview.processes),
            Self::Flows => erase(sample.flows.as_ref().map_or(&[], |flows| &flows.flows)),
            Self::Routes => erase(sample.routes.as_ref().map_or(&[], |routes| &routes.routes)),
            Self::Queues => erase(sample.queues.as_ref().map_or(&[], |queues| &queues.queues)),
        }
    }

    /// How many rows there are, as far as that is told: the agent may have been asked for fewer.
    pub(super) fn count(self, sample: &Sample) -> u64 {
        let asked = self.rows(sample).len() as u64;
        match self {
            Self::Processes | Self::Routes | Self::Queues => asked,
            Self::Flows => sample.overview.connections.values().sum::<u64>().max(asked),
        }
    }

    /// What to ask for to show it, and to search it if `is_searched`, where it is sorted by the column at `sorted`.
    pub(super) fn query(self, is_searched: bool, sorted: Option<usize>) -> Query {
        let rows = if is_searched { ROWS_SEARCHED } else { ROWS };
        let wanted = match self {
            Self::Processes => Wanted::Nothing,
            Self::Flows => {
                let ask = sorted.and_then(|at| self.table().heads.get(at).map(|head| head.ask));
                Wanted::Flows(rows, ask.unwrap_or(Sort::Bytes))
            }
            Self::Routes => Wanted::Routes(rows),
            Self::Queues => Wanted::Queues(rows),
        };
        Query { processes: rows, wanted }
    }

    /// The one with this key.
    pub(super) fn of_key(key: char) -> Option<Self> {
        let digit = key.to_digit(10)? as usize;
        Self::ALL.get(digit.checked_sub(1)?).copied()
    }

    /// The next one, or the one before, all the way round.
    pub(super) fn beside(self, next: bool) -> Self {
        let step = if next { 1 } else { Self::ALL.len() - 1 };
        Self::ALL[(self as usize + step) % Self::ALL.len()]
    }
}

fn erase<T: Listed>(rows: &[T]) -> Vec<&dyn Row> {
    rows.iter().map(|row| row as &dyn Row).collect()
}
