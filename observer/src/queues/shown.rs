//! Message queues as people look at them, those in which most wait first: what `/queues` answers, and what `observer top`
//! and the page at `/` show.

use std::cmp::Reverse;

use observer_ebpf::queues::layout::{AGE_BOUNDS, AGE_BUCKETS, QueueCounts};
use serde::{Deserialize, Serialize};

use super::{Row, Totals};
use crate::labels::ServerKey;
use crate::recent::{Counted, quantile};

/// What `/queues` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queues {
    /// How many seconds [`RecentAges`] are over: ten, or up to twenty where nobody has looked for long.
    pub seconds: f64,
    /// As many as were asked for, the one in which most messages wait first.
    pub queues: Vec<Queue>,
}

/// What processes of one name do with one queue of one server, or what a server does with it for its clients. Its first
/// seven members are the labels of a series of `message_age_in_queue_seconds`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The processes' name.
    pub process: String,
    /// Their container, or empty.
    pub container: String,
    /// `client` or `server`.
    pub role: String,
    /// The server's end.
    pub server: String,
    /// What kind of queue it is.
    pub system: String,
    /// Its name.
    pub queue: String,
    /// The consumer group; empty where there is none.
    pub group: String,
    /// Messages that wait, where that is told of these processes.
    pub messages: Option<u64>,
    /// How long the one which goes next has waited, or at least has; 0 if there is none. Of lists, and of groups of
    /// streams.
    pub oldest_seconds: Option<f64>,
    /// Messages put in a second, over the last ten; at clients, if they have ever done so.
    pub put_per_second: Option<f64>,
    /// The same, taken out.
    pub taken_per_second: Option<f64>,
    /// The same, acknowledged; of consumer groups.
    pub acknowledged_per_second: Option<f64>,
    /// How old messages were that were taken out lately.
    #[serde(flatten)]
    pub ages: RecentAges,
}

/// What queues are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Who has to do with it, and the server's end.
    pub server: ServerKey,
    /// The queue.
    pub row: Row,
}

/// How old messages were that have been taken out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    all_ns: u64,
    /// Messages by age, in the buckets of `message_age_in_queue_seconds`.
    buckets: [u64; AGE_BUCKETS],
}

/// How old messages were that were taken out lately; of those whose age is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentAges {
    /// Their mean; `None` if there were none.
    pub mean_age_seconds: Option<f64>,
    /// What 95 % of them did not exceed. It is estimated from the buckets of `message_age_in_queue_seconds`, and 60 stands
    /// for anything above that.
    pub p95_age_seconds: Option<f64>,
}

impl Ages {
    /// Those of messages that were counted.
    pub const fn of(counts: &QueueCounts) -> Self {
        Self { all_ns: counts.age_ns, buckets: counts.ages }
    }
}

impl Counted for Ages {
    type Recent = RecentAges;

    fn recent(&self, before: &Self, _: f64) -> RecentAges {
        let is_less = self.buckets.iter().zip(&before.buckets).any(|(now, before)| now < before);
        // What was counted has been forgotten in between.
        let before = if is_less { Self::default() } else { *before };
        let added: [u64; AGE_BUCKETS] = std::array::from_fn(|at| self.buckets[at] - before.buckets[at]);
        let count: u64 = added.iter().sum();
        let seconds = self.all_ns.saturating_sub(before.all_ns) as f64 / 1e9;
        RecentAges {
            mean_age_seconds: (count > 0).then(|| seconds / count as f64),
            p95_age_seconds: quantile(0.95, &AGE_BOUNDS, &added),
        }
    }
}

impl Queues {
    /// Those in which most wait, at most `limit`; of equals, those whose oldest message has waited longest, and then the
    /// busiest.
    pub fn new(all: impl Iterator<Item = (Name, Totals, RecentAges)>, seconds: f64, limit: usize) -> Self {
        let mut all: Vec<(Name, Totals, RecentAges)> = all.collect();
        // Unknown is as good as empty: a queue that is in use comes before one that is neither.
        let waiting = |totals: &Totals| {
            let level = totals.level.unwrap_or_default();
            Reverse((level.messages, level.oldest_ns.unwrap_or_default()))
        };
        let busy = |totals: &Totals| totals.rates.iter().sum::<f64>();
        all.sort_unstable_by(|(one, one_totals, _), (other, other_totals, _)| {
            let by_level = waiting(one_totals).cmp(&waiting(other_totals));
            by_level.then(busy(other_totals).total_cmp(&busy(one_totals))).then_with(|| one.cmp(other))
        });
        all.truncate(limit);
        let queues = all.into_iter().map(|(name, totals, ages)| Queue::new(&name, &totals, ages)).collect();
        Self { seconds, queues }
    }
}

impl Queue {
    fn new(name: &Name, totals: &Totals, ages: RecentAges) -> Self {
        let Name { server: (processes, server), row } = name;
        let [process, container, role] = processes.labels().map(str::to_owned);
        let [server, queue, group] = [server, &row.queue, &row.group].map(|text| (**text).to_owned());
        let [put_per_second, taken_per_second, acknowledged_per_second] =
            totals.rates_of(processes.role, row);
        Self {
            process,
            container,
            role,
            server,
            system: row.system.label().to_owned(),
            queue,
            group,
            messages: totals.level.map(|level| level.messages),
            oldest_seconds: totals
                .level
                .and_then(|level| level.oldest_ns)
                .map(|oldest_ns| oldest_ns as f64 / 1e9),
            put_per_second,
            taken_per_second,
            acknowledged_per_second,
            ages,
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::Role;
    use observer_ebpf::queues::layout::{QueueCounts, System};

    use super::{Ages, Name, Queues, RecentAges};
    use crate::labels::Group;
    use crate::queues::{Level, Row, Totals};
    use crate::recent::Counted as _;

    fn name(role: Role, system: System, queue: &str, group: &str) -> Name {
        let processes = Group { process: "app".to_owned(), container: String::new(), role };
        let row = Row { system, queue: queue.into(), group: group.into() };
        Name { server: (processes, "[::1]:6379".into()), row }
    }

    fn list(queue: &str, level: Option<(u64, u64)>, rate: f64) -> (Name, Totals, RecentAges) {
        let level =
            level.map(|(messages, seconds)| Level { messages, oldest_ns: Some(seconds * 1_000_000_000) });
        let totals = Totals { level, rates: [rate, rate, 0.0], ..Totals::default() };
        (name(Role::Server, System::RedisList, queue, ""), totals, RecentAges::default())
    }

    #[test]
    fn those_in_which_most_wait_are_kept() {
        let all = [
            list("idle", Some((0, 0)), 0.0),
            list("unknown", None, 3.0),
            list("old", Some((2, 90)), 0.0),
            list("new", Some((2, 1)), 50.0),
            list("b", Some((0, 0)), 2.0),
            list("a", Some((0, 0)), 2.0),
            list("most", Some((1000, 1)), 0.0),
        ];
        let names = |limit| -> Vec<String> {
            Queues::new(all.iter().cloned(), 10.0, limit).queues.into_iter().map(|row| row.queue).collect()
        };
        assert_eq!(names(10), ["most", "old", "new", "unknown", "a", "b", "idle"]);
        assert_eq!(names(2), ["most", "old"]);
        assert!(names(0).is_empty());
    }

    #[test]
    fn what_is_not_known_is_null() {
        let worker = name(Role::Client, System::RedisStream, "orders", "billing");
        let counts = QueueCounts { taken: 3, acknowledged: 1, ..QueueCounts::default() };
        let totals = Totals { counts, rates: [0.0, 0.3, 0.1], level: None };
        let ages = RecentAges { mean_age_seconds: Some(1.5), p95_age_seconds: Some(4.5) };
        let topic = name(Role::Client, System::KafkaTopic, "events", "audit");
        // Of a topic it is not known since when messages wait.
        let lagging = Totals { level: Some(Level { messages: 3, oldest_ns: None }), ..Totals::default() };
        let rows = [
            (worker, totals, ages),
            list("celery", Some((7, 2)), 0.0),
            (topic, lagging, RecentAges::default()),
        ];
        let json = serde_json::to_value(Queues::new(rows.into_iter(), 10.5, 10)).expect("it is data");
        let expected = serde_json::json!({ "seconds": 10.5, "queues": [
            {
                "process": "app", "container": "", "role": "server", "server": "[::1]:6379",
                "system": "redis_list", "queue": "celery", "group": "", "messages": 7, "oldest_seconds": 2.0,
                "put_per_second": 0.0, "taken_per_second": 0.0, "acknowledged_per_second": null,
                "mean_age_seconds": null, "p95_age_seconds": null,
            },
            {
                "process": "app", "container": "", "role": "client", "server": "[::1]:6379",
                "system": "kafka", "queue": "events", "group": "audit", "messages": 3, "oldest_seconds": null,
                "put_per_second": null, "taken_per_second": null, "acknowledged_per_second": null,
                "mean_age_seconds": null, "p95_age_seconds": null,
            },
            {
                "process": "app", "container": "", "role": "client", "server": "[::1]:6379",
                "system": "redis_stream", "queue": "orders", "group": "billing",
                "messages": null, "oldest_seconds": null,
                "put_per_second": null, "taken_per_second": 0.3, "acknowledged_per_second": 0.1,
                "mean_age_seconds": 1.5, "p95_age_seconds": 4.5,
            },
        ] });
        assert_eq!(json, expected);
    }

    #[test]
    fn ages_are_of_what_was_taken_lately() {
        let ages = |counts: [u64; 2], seconds: u64| {
            let mut all = QueueCounts { age_ns: seconds * 1_000_000_000, ..QueueCounts::default() };
            (all.ages[3], all.ages[7]) = (counts[0], counts[1]);
            Ages::of(&all)
        };
        let before = ages([100, 0], 150);
        assert_eq!(before.recent(&before, 10.0), RecentAges::default());
        // Of 1 to 5 seconds.
        let some = ages([110, 0], 180).recent(&before, 10.0);
        assert_eq!(some.mean_age_seconds, Some(3.0));
        assert!(some.p95_age_seconds.is_some_and(|p95| f64::abs(p95 - 4.8) < 1e-9), "{some:?}");
        // Above all bounds.
        let some = ages([100, 2], 390).recent(&before, 10.0);
        assert_eq!(some, RecentAges { mean_age_seconds: Some(120.0), p95_age_seconds: Some(60.0) });
        // It counts anew.
        assert_eq!(ages([2, 0], 6).recent(&before, 10.0).mean_age_seconds, Some(3.0));
    }
}
