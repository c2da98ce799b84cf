//! What is shown of more rows than there may be.

use std::collections::HashMap;
use std::rc::Rc;

use observer_ebpf::layout::Role;

use super::Folder;
use crate::labels::Group;
use crate::ledger::lives::Lives;
use crate::metrics::family::{Description, Family, Value};
use crate::process::Identity;

const SECOND: u64 = 1_000_000_000;

const COUNTER: Description = Description::counter("x_total", &["process", "container", "role", "kind"], "X.");
const GAUGE: Description = Description::gauge("x", &["process", "container", "role", "kind"], "X.");
const HISTOGRAM: Description =
    Description::histogram("x_seconds", &[1.0], &["process", "container", "role", "kind"], "X.");

/// Names, the counts of each, and what is folded of them.
struct Host {
    folder: Folder,
    lives: Lives,
    processes: HashMap<&'static str, Rc<Identity>>,
    counted: HashMap<&'static str, u64>,
    now_ns: u64,
    /// What was shown of each name, and added up over all.
    shown: HashMap<String, f64>,
}

impl Host {
    fn new(limit: usize) -> Self {
        Self {
            folder: Folder::new(limit, 0.0),
            lives: Lives::default(),
            processes: HashMap::new(),
            counted: HashMap::new(),
            now_ns: 0,
            shown: HashMap::new(),
        }
    }

    /// A second later a process has counted so much more.
    fn count(&mut self, name: &'static str, more: u64) {
        self.now_ns += SECOND;
        let number = u32::try_from(self.now_ns / SECOND).expect("few seconds have passed");
        let process = self.processes.entry(name).or_insert_with(|| {
            let identity =
                Identity { name: name.to_owned(), container: String::new(), pid: number, start_ns: 1 };
            Rc::new(identity)
        });
        let group = Group::of(process, Role::Client);
        self.lives.see(process, &group, f64::from(number), self.now_ns);
        *self.counted.entry(name).or_default() += more;
    }

    /// A second later it has ended.
    fn end(&mut self, name: &'static str) {
        self.now_ns += SECOND;
        let ended = self.processes.remove(name).into_iter().collect();
        self.lives.look(&ended, &std::collections::HashSet::new(), self.now_ns);
    }

    /// Nothing of a name is kept any more.
    fn forget(&mut self, name: &'static str) {
        self.counted.remove(name);
    }

    /// A family of all names, as it is shown.
    fn family(&mut self, description: Description, value: impl Fn(u64) -> Value) -> Family {
        let mut family = Family::new(description);
        let mut names: Vec<_> = self.counted.iter().collect();
        names.sort_unstable();
        for (name, &count) in names {
            family.push([name, "", "client", "k"], value(count));
        }
        self.folder.fold(&mut family, &self.lives.by_labels());
        self.folder.looked_at((self.now_ns / SECOND) as f64);
        family
    }

    /// What a scrape shows of the counter, by name. None of it may be less than it was, but where a row has gone.
    fn show(&mut self) -> Vec<(String, f64)> {
        let family = self.family(COUNTER, |count| Value::Counter(count as f64));
        let shown: Vec<(String, f64)> = family
            .rows
            .iter()
            .map(|row| match row.value {
                Value::Counter(count) => (row.labels[0].clone(), count),
                Value::Gauge(_) | Value::Histogram(..) => unreachable!("it is a counter"),
            })
            .collect();
        for (name, count) in &shown {
            let before = self.shown.get(name).copied().unwrap_or_default();
            assert!(*count >= before, "{name} is {count} after {before}");
        }
        self.shown = shown.iter().cloned().collect();
        shown
    }

    fn left_out(&self) -> u64 {
        self.folder.folded().map(|(_, count)| count).sum()
    }
}

fn rows(rows: &[(&str, f64)]) -> Vec<(String, f64)> {
    rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn rows_past_the_limit_are_added_up_and_counted() {
    let mut host = Host::new(1);
    for (name, count) in [("a", 1), ("b", 2), ("c", 3)] {
        host.count(name, count);
    }
    assert_eq!(host.show(), rows(&[("a", 1.0), ("other", 5.0)]));
    assert_eq!(host.left_out(), 2);
    host.count("b", 10);
    assert_eq!(host.show(), rows(&[("a", 1.0), ("other", 15.0)]));
    assert_eq!(host.left_out(), 2, "each once");
}

#[test]
fn what_is_not_in_use_makes_way_the_longest_unused_first() {
    let mut host = Host::new(3);
    for name in ["a", "b", "c"] {
        host.count(name, 100);
    }
    host.end("b");
    host.end("a");
    assert_eq!(host.show(), rows(&[("a", 100.0), ("b", 100.0), ("c", 100.0)]));
    host.count("d", 7);
    assert_eq!(host.show(), rows(&[("a", 100.0), ("c", 100.0), ("d", 7.0)]), "and into no other row");
    host.count("e", 7);
    assert_eq!(host.show(), rows(&[("c", 100.0), ("d", 7.0), ("e", 7.0)]));
    assert_eq!(host.left_out(), 2);
    // Rows in use keep their places.
    host.count("f", 7);
    assert_eq!(host.show(), rows(&[("c", 100.0), ("d", 7.0), ("e", 7.0), ("other", 7.0)]));
    // What has made way comes again, and counts with the others.
    host.count("a", 3);
    assert_eq!(host.show(), rows(&[("c", 100.0), ("d", 7.0), ("e", 7.0), ("other", 10.0)]));
    assert_eq!(host.left_out(), 3);
}

#[test]
fn a_row_that_finds_a_place_again_shows_what_was_not_added_up_elsewhere() {
    let mut host = Host::new(1);
    host.count("a", 100);
    host.count("b", 7);
    assert_eq!(host.show(), rows(&[("a", 100.0), ("other", 7.0)]));
    host.end("a");
    host.count("b", 2);
    assert_eq!(host.show(), rows(&[("b", 2.0), ("other", 7.0)]));
    let family = host.family(COUNTER, |count| Value::Counter(count as f64));
    assert_eq!(family.rows[0].created, Some(2.0), "since the last look before it had a place");
    // And the one that has made way has lost nothing by it: nothing was added up elsewhere.
    host.end("b");
    host.forget("b");
    assert_eq!(host.show(), rows(&[("a", 100.0), ("other", 7.0)]));
}

#[test]
fn what_was_added_up_stays_when_its_row_goes() {
    let mut host = Host::new(1);
    host.count("a", 1);
    host.count("b", 2);
    assert_eq!(host.show(), rows(&[("a", 1.0), ("other", 2.0)]));
    host.end("b");
    host.forget("b");
    host.count("c", 4);
    assert_eq!(host.show(), rows(&[("a", 1.0), ("other", 6.0)]));
    host.forget("a");
    host.count("c", 1);
    assert_eq!(host.show(), rows(&[("c", 1.0), ("other", 6.0)]));
}

#[test]
fn what_came_and_went_between_two_looks_is_added_up() {
    let mut host = Host::new(1);
    host.count("a", 1);
    host.count("b", 2);
    host.end("b");
    assert_eq!(host.show(), rows(&[("a", 1.0), ("other", 2.0)]));
}

#[test]
fn a_process_may_be_called_other() {
    let mut host = Host::new(1);
    host.count("other", 1);
    host.count("z", 2);
    assert_eq!(host.show(), rows(&[("other", 3.0)]));
}

#[test]
fn levels_are_those_of_now_and_histograms_add_up_like_counters() {
    let mut host = Host::new(1);
    host.count("a", 1);
    host.count("b", 2);
    host.count("c", 3);
    host.end("c");
    let gauge = host.family(GAUGE, |count| Value::Gauge(count as f64));
    let values: Vec<&Value> = gauge.rows.iter().map(|row| &row.value).collect();
    assert_eq!(values, [&Value::Gauge(1.0), &Value::Gauge(2.0)], "without what is not in use");
    let histogram = |count| Value::Histogram(vec![count, 1], count as f64);
    host.family(HISTOGRAM, histogram);
    host.count("b", 5);
    let family = host.family(HISTOGRAM, histogram);
    assert_eq!(family.rows[1].value, Value::Histogram(vec![10, 2], 10.0));
}

#[test]
fn names_that_clients_make_up_are_added_up_too() {
    const NAMED: Description = Description::counter(
        "x_total",
        &["process", "authority", "route", "cache_key_prefix", "status"],
        "X.",
    );
    let mut family = Family::new(NAMED);
    for number in 0..100 {
        let labels = ["web", "", &format!("/{number}"), &format!("p{number}"), "200"];
        family.push(labels, Value::Counter(1.0));
    }
    Folder::new(10, 0.0).fold(&mut family, &Lives::default().by_labels());
    assert_eq!(family.rows.len(), 11);
    let others = family.rows.last().expect("the row of others");
    assert_eq!(others.labels, ["other", "", "other", "other", "200"]);
    assert_eq!(others.value, Value::Counter(90.0));
}

#[test]
fn nothing_grows_with_rows_that_are_gone() {
    const NAMES: [&str; 26] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t",
        "u", "v", "w", "x", "y", "z",
    ];
    let mut host = Host::new(1);
    host.count("lives on", 1);
    for name in NAMES.iter().cycle().take(1000) {
        host.count(name, 1);
        host.show();
        host.end(name);
        host.show();
        host.forget(name);
    }
    assert_eq!(host.show(), rows(&[("lives on", 1.0), ("other", 1000.0)]));
    let table = &host.folder.tables["x_total"];
    assert_eq!((table.rows.len(), table.homeless, table.others.len()), (1, 0, 1));
}
