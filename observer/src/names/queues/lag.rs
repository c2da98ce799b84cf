//! How far consumers of Kafka are behind: plain data in, rows out.
//!
//! What is told of a partition comes from several sides. The high watermark is that of its leader, and whoever reads from
//! there or writes there is told it. A consumer commits at its group's coordinator, which may be another broker. So the
//! three marks of a partition are looked up each on its own, and of several the one told last counts.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use observer_ebpf::layout::Role;
use observer_ebpf::queues::layout::Partition;

use crate::labels::Group;
use crate::names::services::Place;
use crate::queues::Row;

/// How much one processor's clock may be ahead of another's, in ticks: some minutes, which is far more than it is.
const AHEAD: u32 = 1 << 18;

/// An offset, and when it was told, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    offset: u64,
    at: u32,
}

/// The marks of a partition, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    high: Option<Mark>,
    position: Option<Mark>,
    committed: Option<Mark>,
    /// The first position, as long as nothing is committed.
    start: Option<Mark>,
}

/// What a process was told of a partition at a server, or what a server's end told it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// The process and the server.
    pub(super) place: &'a Place,
    /// The number of the topic, or of the consumer group of the topic.
    pub(super) queue: u32,
    /// Its row.
    pub(super) row: &'a Row,
    /// The topic's whole name: that of the row may stand for several.
    pub(super) topic: &'a [u8],
    /// The number of the group's name, which is the same at all servers; 0 without a group.
    pub(super) group: u32,
    pub(super) partition: u32,
    pub(super) marks: Marks,
}

/// How many messages wait for whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lags {
    /// A row for each.
    pub(super) rows: Vec<Lag>,
    /// Numbers of queues in which messages wait.
    pub(super) waiting: HashSet<u32>,
}

/// How many messages of a topic wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) place: Place,
    pub(super) row: Row,
    pub(super) messages: u64,
}

/// A partition of a topic.
type At<'a> = (&'a [u8], u32);

/// What processes of one name have told of a partition, as one consumer group, or without one.
#[derive(Debug, Default)]
struct Reader<'a> {
    marks: Marks,
    /// Where the high watermark is known that was told last.
    high: Option<(Mark, &'a Place)>,
    row: Option<&'a Row>,
    /// All their numbers.
    queues: Vec<u32>,
}

/// What is added up over partitions.
#[derive(Debug, Default)]
struct Sums<'a> {
    rows: HashMap<(&'a Place, &'a Row), u64>,
    waiting: HashSet<u32>,
}

impl Marks {
    /// Those of a partition.
    pub(super) fn of(partition: &Partition) -> Self {
        let mark = |offset, at| (at != 0).then_some(Mark { offset, at });
        Self {
            high: mark(partition.high, partition.high_at),
            position: mark(partition.position, partition.position_at),
            committed: mark(partition.committed, partition.committed_at),
            start: mark(partition.committed, partition.position_at).filter(|_| partition.committed_at == 0),
        }
    }
}

impl Mark {
    /// Of two, the one told last, and of equals the greater one. Ticks wrap around.
    fn later(self, other: Self, now: u32) -> Self {
        let passed = |mark: Self| {
            let passed = now.wrapping_sub(mark.at);
            if passed > u32::MAX - AHEAD { 0 } else { passed }
        };
        let rank = |mark: Self| (Reverse(passed(mark)), mark.offset);
        if rank(other) > rank(self) { other } else { self }
    }
}

fn later(one: Option<Mark>, other: Option<Mark>, now: u32) -> Option<Mark> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.later(other, now)),
        (one, other) => one.or(other),
    }
}

impl<'a> Reader<'a> {
    /// Takes in an entry, where the high watermark at its server is this.
    fn add(&mut self, entry: &Entry<'a>, high: Option<Mark>, now: u32) {
        let Marks { position, committed, start, .. } = entry.marks;
        self.marks.start = later(self.marks.start, start, now);
        self.marks.position = later(self.marks.position, position, now);
        self.marks.committed = later(self.marks.committed, committed, now);
        self.row = Some(entry.row);
        self.queues.push(entry.queue);
        self.take_high(high.map(|high| (high, entry.place)), now);
    }

    /// Takes over the high watermark of a server, if it was told later than that of another one.
    fn take_high(&mut self, high: Option<(Mark, &'a Place)>, now: u32) {
        let Some((mark, place)) = high else { return };
        let is_later = self.high.is_none_or(|(before, at)| {
            if before == mark { place.server < at.server } else { before.later(mark, now) == mark }
        });
        if is_later {
            self.high = high;
        }
    }

    /// How many messages wait, and where, if that is known. A group that commits has not yet got over what it has read in a
    /// partition in which it has committed nothing.
    fn lag(&self, commits: bool) -> Option<(&'a Place, &'a Row, u64)> {
        let (high, place) = self.high?;
        let start = self.marks.start.filter(|_| commits);
        let next = self.marks.committed.or(start).or(self.marks.position)?;
        Some((place, self.row?, high.offset.saturating_sub(next.offset)))
    }
}

impl Lags {
    /// Those of all that is told, when it is `now` in ticks.
    pub(super) fn of(entries: &[Entry<'_>], now: u32) -> Self {
        let mut highs: HashMap<(&str, At<'_>), Mark> = HashMap::new();
        for entry in entries {
            if let Some(high) = entry.marks.high {
                let at = (&*entry.place.server, (entry.topic, entry.partition));
                highs.entry(at).and_modify(|mark| *mark = mark.later(high, now)).or_insert(high);
            }
        }
        // Of groups, and of who reads without one.
        let mut groups: HashMap<(&Group, At<'_>, u32), Reader<'_>> = HashMap::new();
        let mut loners: HashMap<(&Group, At<'_>), Reader<'_>> = HashMap::new();
        for entry in entries {
            let at = (entry.topic, entry.partition);
            let high = highs.get(&(&*entry.place.server, at)).copied();
            let processes = &entry.place.group;
            if entry.group != 0 {
                groups.entry((processes, at, entry.group)).or_default().add(entry, high, now);
            } else if entry.marks.position.is_some() && processes.role == Role::Client {
                // At a broker's end it would be that of whoever came last.
                loners.entry((processes, at)).or_default().add(entry, high, now);
            }
        }
        let committing: HashSet<(&Group, &[u8], u32)> = groups
            .iter()
            .filter(|(_, reader)| reader.marks.committed.is_some())
            .map(|((processes, (topic, _), group), _)| (*processes, *topic, *group))
            .collect();
        let mut sums = Sums::default();
        let mut grouped: HashSet<(&Group, At<'_>)> = HashSet::new();
        for ((processes, at, group), mut reader) in groups {
            if reader.high.is_none()
                && let Some(loner) = loners.get(&(processes, at))
            {
                // It has committed as a group, and reads where it is not known that it is one.
                reader.take_high(loner.high, now);
                reader.marks.position = reader.marks.position.or(loner.marks.position);
                reader.marks.start = reader.marks.start.or(loner.marks.start);
                reader.queues.extend(&loner.queues);
            }
            if sums.add(&reader, committing.contains(&(processes, at.0, group))) {
                grouped.insert((processes, at));
            }
        }
        for ((processes, at), reader) in loners {
            if !grouped.contains(&(processes, at)) {
                sums.add(&reader, false);
            }
        }
        let rows = sums.rows.into_iter().map(|((place, row), messages)| Lag {
            place: place.clone(),
            row: row.clone(),
            messages,
        });
        Self { rows: rows.collect(), waiting: sums.waiting }
    }
}

impl<'a> Sums<'a> {
    /// Adds a partition. Returns whether it is known how many messages wait.
    fn add(&mut self, reader: &Reader<'a>, commits: bool) -> bool {
        let Some((place, row, messages)) = reader.lag(commits) else { return false };
        *self.rows.entry((place, row)).or_default() += messages;
        if messages > 0 {
            self.waiting.extend(&reader.queues);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::{Protocol, Role};
    use observer_ebpf::queues::layout::{Partition, System};

    use super::{Entry, Lags, Marks};
    use crate::labels::Group;
    use crate::names::services::Place;
    use crate::queues::Row;

    const NOW: u32 = 100_000;
    const ORDERS: &[u8] = b"orders";

    fn place(process: &str, role: Role, server: &str) -> Place {
        let group = Group { process: process.to_owned(), container: String::new(), role };
        Place { group, server: server.into(), protocol: Protocol::Kafka }
    }

    fn client(process: &str, server: &str) -> Place {
        place(process, Role::Client, server)
    }

    fn row(topic: &str, group: &str) -> Row {
        Row { system: System::KafkaTopic, queue: topic.into(), group: group.into() }
    }

    /// An offset each, and when it was told: the high watermark, the position, and what is committed.
    fn marks(of: [(u64, u32); 3]) -> Marks {
        let [(high, high_at), (position, position_at), (committed, committed_at)] = of;
        Marks::of(&Partition {
            high,
            high_at,
            position,
            position_at,
            committed,
            committed_at,
            ..Partition::default()
        })
    }

    const UNTOLD: (u64, u32) = (0, 0);

    fn entry<'a>(
        place: &'a Place,
        row: &'a Row,
        (queue, group, partition): (u32, u32, u32),
        of: [(u64, u32); 3],
    ) -> Entry<'a> {
        Entry { place, queue, row, topic: ORDERS, group, partition, marks: marks(of) }
    }

    /// The rows as process, server, group and messages, and the numbers in which messages wait.
    fn lags(entries: &[Entry<'_>], now: u32) -> (Vec<(String, u64)>, Vec<u32>) {
        let lags = Lags::of(entries, now);
        let tell = |lag: &super::Lag| {
            let Row { queue, group, .. } = &lag.row;
            (format!("{} {} {queue} {group}", lag.place.group.process, lag.place.server), lag.messages)
        };
        let mut rows: Vec<(String, u64)> = lags.rows.iter().map(tell).collect();
        let mut waiting: Vec<u32> = lags.waiting.into_iter().collect();
        rows.sort_unstable();
        waiting.sort_unstable();
        (rows, waiting)
    }

    fn rows(entries: &[Entry<'_>]) -> Vec<(String, u64)> {
        lags(entries, NOW).0
    }

    fn one(text: &str, messages: u64) -> Vec<(String, u64)> {
        vec![(text.to_owned(), messages)]
    }

    #[test]
    fn a_group_is_behind_by_what_is_not_committed_in_all_partitions() {
        let (billing, of) = (client("billing", "a:9092"), row("orders", "bills"));
        let entries = [
            entry(&billing, &of, (200, 9, 0), [(47, 90), (46, 91), (43, 92)]),
            // Nothing is committed yet: what is read, from the third on, is not got over.
            entry(&billing, &of, (200, 9, 1), [(10, 90), (4, 91), (2, 0)]),
            // It is not known how far this is read, and of this not how far it is written.
            entry(&billing, &of, (200, 9, 2), [(1000, 90), UNTOLD, UNTOLD]),
            entry(&billing, &of, (200, 9, 3), [UNTOLD, (5, 90), (5, 90)]),
            // A commit may be ahead of what was last told of the end.
            entry(&billing, &of, (200, 9, 4), [(7, 90), UNTOLD, (9, 91)]),
        ];
        assert_eq!(lags(&entries, NOW), (one("billing a:9092 orders bills", 4 + 8), vec![200]));
        assert_eq!(rows(&entries[4..]), one("billing a:9092 orders bills", 0));
        assert_eq!(lags(&entries[4..], NOW).1, [0_u32; 0]);
        assert_eq!(lags(&entries[2..4], NOW), (vec![], vec![]));
    }

    #[test]
    fn commits_go_to_another_broker_and_the_row_is_that_of_the_leader() {
        let [leader, coordinator] = ["a:9092", "b:9092"].map(|server| client("billing", server));
        let of = row("orders", "bills");
        let entries = [
            entry(&leader, &of, (200, 9, 0), [(50, 90), (48, 91), UNTOLD]),
            entry(&coordinator, &of, (201, 9, 0), [UNTOLD, UNTOLD, (45, 92)]),
        ];
        assert_eq!(lags(&entries, NOW), (one("billing a:9092 orders bills", 5), vec![200, 201]));
        // Where it is not known that it reads as a group, it commits as one all the same.
        let alone = row("orders", "");
        let entries = [entry(&leader, &alone, (202, 0, 0), [(50, 90), (48, 91), UNTOLD]), entries[1]];
        assert_eq!(lags(&entries, NOW), (one("billing a:9092 orders bills", 5), vec![201, 202]));
        // Another group of the same process, and another process with the same group, have commits of their own.
        let (others, shipping) = (row("orders", "audit"), client("shipping", "b:9092"));
        let leads = entry(&leader, &of, (200, 9, 0), [(50, 90), (48, 91), UNTOLD]);
        let entries = [
            leads,
            entry(&coordinator, &others, (203, 10, 0), [UNTOLD, UNTOLD, (1, 92)]),
            entry(&shipping, &of, (204, 9, 0), [UNTOLD, UNTOLD, (2, 92)]),
        ];
        assert_eq!(rows(&entries), one("billing a:9092 orders bills", 2));
    }

    #[test]
    fn the_end_is_what_anybody_was_told_last_at_that_server() {
        let [billing, web, elsewhere] =
            [("billing", "a:9092"), ("web", "a:9092"), ("web", "b:9092")].map(|(name, at)| client(name, at));
        let (of, alone) = (row("orders", "bills"), row("orders", ""));
        let stuck = entry(&billing, &of, (200, 9, 0), [(50, 10), (50, 10), (50, 10)]);
        let writes = |place, queue, high| entry(place, &alone, (queue, 0, 0), [high, UNTOLD, UNTOLD]);
        // Those who only write have no row.
        let entries = [stuck, writes(&web, 201, (75, 90)), writes(&elsewhere, 202, (999, 99))];
        assert_eq!(rows(&entries), one("billing a:9092 orders bills", 25));
        // A topic that was made anew is shorter.
        let entries = [stuck, writes(&web, 201, (75, 90)), writes(&web, 202, (60, 91))];
        assert_eq!(rows(&entries), one("billing a:9092 orders bills", 10));
        let entries = [stuck, writes(&web, 201, (75, 90)), writes(&web, 202, (60, 90))];
        assert_eq!(rows(&entries), one("billing a:9092 orders bills", 25));
        // The end at the broker itself is at the same server; the broker's own row is that of the commits which it gets.
        let broker = place("java", Role::Server, "a:9092");
        let entries = [stuck, entry(&broker, &of, (203, 9, 0), [(80, 92), UNTOLD, (50, 10)])];
        let both = [one("billing a:9092 orders bills", 30), one("java a:9092 orders bills", 30)].concat();
        assert_eq!(rows(&entries), both);
    }

    #[test]
    fn of_several_processes_and_leaders_the_one_told_last_counts() {
        let [before, after] = ["a:9092", "b:9092"].map(|server| client("billing", server));
        let of = row("orders", "bills");
        // A partition that moved from one worker to another one of the same name.
        let first = entry(&before, &of, (200, 9, 0), [(50, 90), (50, 90), (20, 80)]);
        let second = entry(&before, &of, (200, 9, 0), [(51, 91), (45, 91), (40, 95)]);
        assert_eq!(rows(&[first, second]), one("billing a:9092 orders bills", 11));
        assert_eq!(rows(&[second, first]), one("billing a:9092 orders bills", 11));
        // Its leader moved as well.
        let moved = entry(&after, &of, (201, 9, 0), [(60, 96), (60, 96), UNTOLD]);
        for entries in [[first, second, moved], [moved, second, first]] {
            assert_eq!(rows(&entries), one("billing b:9092 orders bills", 20));
        }
        let [one_of, other_of] =
            [[before.clone(), after.clone()], [after.clone(), before.clone()]].map(|[one, other]| {
                let told = [(50, 90), (45, 90), UNTOLD];
                rows(&[entry(&one, &of, (200, 9, 0), told), entry(&other, &of, (201, 9, 0), told)])
            });
        assert_eq!(one_of, other_of);
    }

    #[test]
    fn who_reads_without_a_group_has_a_row_where_none_of_a_group_is_known() {
        let (tail, of, alone) = (client("tail", "a:9092"), row("orders", "bills"), row("orders", ""));
        let reads = entry(&tail, &alone, (200, 0, 0), [(50, 90), (48, 91), UNTOLD]);
        assert_eq!(lags(&[reads], NOW), (one("tail a:9092 orders ", 2), vec![200]));
        let in_group = entry(&tail, &of, (201, 9, 0), [(50, 90), (49, 91), (40, 91)]);
        assert_eq!(lags(&[reads, in_group], NOW), (one("tail a:9092 orders bills", 10), vec![201]));
        // That is of another partition, and this of another process.
        let of_another = Entry { partition: 1, ..in_group };
        let both = [one("tail a:9092 orders ", 2), one("tail a:9092 orders bills", 10)].concat();
        assert_eq!(rows(&[reads, of_another]), both);
        let other = client("other", "a:9092");
        let both = [one("other a:9092 orders bills", 10), one("tail a:9092 orders ", 2)].concat();
        assert_eq!(rows(&[reads, Entry { place: &other, ..in_group }]), both);
        // A group of which nothing is known yet hides nobody.
        let joined = entry(&other, &of, (201, 9, 0), [UNTOLD; 3]);
        assert_eq!(rows(&[reads, joined]), one("tail a:9092 orders ", 2));
    }

    #[test]
    fn topics_whose_names_are_no_labels_are_added_up_and_told_apart() {
        let (billing, of) = (client("billing", "a:9092"), row("other", "bills"));
        let one_topic = entry(&billing, &of, (200, 9, 0), [(50, 90), UNTOLD, (40, 90)]);
        let another = entry(&billing, &of, (201, 9, 0), [(7, 91), UNTOLD, (4, 91)]);
        let entries = [one_topic, Entry { topic: b"payments", ..another }];
        assert_eq!(lags(&entries, NOW), (one("billing a:9092 other bills", 13), vec![200, 201]));
    }

    #[test]
    fn times_wrap_around() {
        let (billing, of) = (client("billing", "a:9092"), row("orders", "bills"));
        let before = entry(&billing, &of, (200, 9, 0), [(50, u32::MAX - 5), UNTOLD, (40, u32::MAX - 5)]);
        let after = entry(&billing, &of, (200, 9, 0), [(60, 3), UNTOLD, (55, 3)]);
        for entries in [[before, after], [after, before]] {
            assert_eq!(lags(&entries, 10).0, one("billing a:9092 orders bills", 5));
            // Another processor's clock is ahead.
            assert_eq!(lags(&entries, 2).0, one("billing a:9092 orders bills", 5));
        }
    }
}
