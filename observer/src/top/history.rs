//! What numbers were at the last samples, one a second, and small pictures of that.

use std::collections::{HashMap, VecDeque};

use super::source::Sample;
use super::view::View;
use crate::table::Row;

/// Samples kept of the host's own rates, and of each row's.
const KEPT: usize = 300;
const KEPT_OF_ROW: usize = 60;
/// Rows whose past is kept; no screen shows as many.
const ROWS: usize = 4096;

/// The past of everything on the screen.
#[derive(Debug, Default)]
pub(super) struct History {
    /// WebSocket messages a second on the host.
    pub(super) messages: VecDeque<f64>,
    /// Bytes a second, all processes' added up.
    pub(super) bytes: VecDeque<f64>,
    rows: HashMap<String, VecDeque<f64>>,
}

impl History {
    /// Takes a sample. What is not in it is forgotten, unless that is still to be seen.
    pub(super) fn push(&mut self, sample: &Sample, keep: bool) {
        push(&mut self.messages, sample.overview.messages_per_second, KEPT);
        push(&mut self.bytes, sample.overview.processes.iter().filter_map(Row::rate).sum(), KEPT);
        let mut now: HashMap<String, f64> = HashMap::new();
        // UNIX connections between the same ends cannot be told apart: they have one past, of all of them.
        for row in View::ALL.into_iter().flat_map(|view| view.rows(sample)).take(ROWS) {
            if let Some(rate) = row.rate() {
                *now.entry(row.id()).or_default() += rate;
            }
        }
        if keep && self.rows.len() <= ROWS {
            for id in self.rows.keys() {
                now.entry(id.clone()).or_default();
            }
        } else {
            self.rows.retain(|id, _| now.contains_key(id));
        }
        for (id, rate) in now {
            push(self.rows.entry(id).or_default(), rate, KEPT_OF_ROW);
        }
    }

    /// How busy a row was, the newest last, if that is known.
    pub(super) fn of_row(&self, row: &dyn Row) -> Option<&VecDeque<f64>> {
        self.rows.get(&row.id())
    }
}

fn push(samples: &mut VecDeque<f64>, sample: f64, kept: usize) {
    if samples.len() == kept {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// The last samples but the newest `skipped`, as bars up to the greatest of them, the newest at the right.
pub(super) fn bars(samples: &VecDeque<f64>, skipped: usize, room: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let end = samples.len().saturating_sub(skipped);
    let shown: Vec<f64> = samples.range(end.saturating_sub(room)..end).copied().collect();
    let greatest = shown.iter().copied().fold(0.0, f64::max);
    // Little is told from nothing, which is the lowest bar.
    let bar = |&sample: &f64| BARS[(0..7).filter(|&step| sample * 7.0 > greatest * f64::from(step)).count()];
    let blank = " ".repeat(room - shown.len());
    shown.iter().map(bar).fold(blank, |mut bars, bar| {
        bars.push(bar);
        bars
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::PerDirection;
    use crate::processes::{Overview, Process};

    #[test]
    fn the_newest_is_at_the_right() {
        let samples = VecDeque::from([0.0, 0.1, 50.0, 100.0]);
        assert_eq!(bars(&samples, 0, 6), "  ▁▂▅█");
        assert_eq!(bars(&samples, 0, 2), "▅█");
        assert_eq!(bars(&samples, 1, 3), "▁▂█");
        assert_eq!(bars(&samples, 9, 3), "   ");
        assert_eq!(bars(&VecDeque::from([0.0]), 0, 2), " ▁");
    }

    #[test]
    fn what_is_gone_is_forgotten_and_nothing_grows_for_ever() {
        let sample = |pids: &[u32]| {
            let row = |&pid: &u32| Process {
                pid,
                bytes_per_second: PerDirection::new([f64::from(pid), 1.0]),
                ..Process::default()
            };
            let processes = pids.iter().map(row).collect();
            Sample { overview: Overview { processes, ..Overview::default() }, ..Sample::default() }
        };
        let mut history = History::default();
        history.push(&sample(&[1, 2]), false);
        history.push(&sample(&[2, 3]), false);
        assert_eq!(history.bytes, [5.0, 7.0]);
        let of = |history: &History, pid| history.of_row(&sample(&[pid]).overview.processes[0]).cloned();
        assert_eq!(of(&history, 1), None);
        assert_eq!(of(&history, 2), Some(VecDeque::from([3.0, 3.0])));
        history.push(&sample(&[3]), true);
        assert_eq!(of(&history, 2), Some(VecDeque::from([3.0, 3.0, 0.0])));
        for _ in 0..1000 {
            history.push(&sample(&[2]), false);
        }
        assert_eq!((history.bytes.len(), history.messages.len()), (KEPT, KEPT));
        assert_eq!(of(&history, 2).map(|past| past.len()), Some(KEPT_OF_ROW));
    }
}
