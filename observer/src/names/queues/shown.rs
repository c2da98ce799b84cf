//! Queues as people look at them.

use observer_ebpf::queues::layout::QueueCounts;

use super::Queues;
use crate::names::services::Services;
use crate::queues::shown::{self, Ages, Name};
use crate::queues::{Rows, Totals};

impl Queues {
    /// Keeps a look at what has been counted, if it is time to. To be called after it was brought up to date.
    pub(in crate::names) fn keep_look(&mut self, services: &Services, now_ns: u64) {
        if self.ages.is_due(now_ns) {
            let ages = self.rows(services, now_ns).map(|(name, totals)| (name, Ages::of(&totals.counts)));
            // Who only puts messages in, or has done so only, has none.
            let ages = ages.filter(|(_, ages)| *ages != Ages::of(&QueueCounts::default())).collect();
            self.ages.keep(now_ns, ages);
        }
    }

    /// Those in which most wait, at most `limit`.
    pub(in crate::names) fn shown(&self, services: &Services, limit: usize, now_ns: u64) -> shown::Queues {
        let rows =
            self.rows(services, now_ns).map(|(name, totals)| ((name, Ages::of(&totals.counts)), totals));
        let (ages, totals): (Vec<(Name, Ages)>, Vec<Totals>) = rows.unzip();
        let ages = self.ages.compare(now_ns, ages);
        let all = ages.zip(totals).map(|((name, _, ages), totals)| (name, totals, ages));
        shown::Queues::new(all, self.ages.seconds(now_ns), limit)
    }

    fn rows(&self, services: &Services, now_ns: u64) -> impl Iterator<Item = (Name, Totals)> {
        let mut all = Rows::new();
        self.fill(services, now_ns, &mut all);
        all.into_iter().flat_map(|(server, rows)| {
            rows.into_iter().map(move |(row, totals)| (Name { server: server.clone(), row }, totals))
        })
    }
}
