//! Families of memcached (the text protocol, with the meta commands).

use observer_ebpf::protocols::memcached::layout::{self, Command};

use super::Totals;
use crate::ledger::View;
use crate::metrics::SERVER_LABELS as LABELS;
use crate::metrics::family::{Description, Families, SECOND_NS, bounds, seconds};
use crate::protocols::keys;

const LATENCY_BOUNDS: [f64; 5] = bounds(&layout::LATENCY_BOUNDS, SECOND_NS);

const COMMAND_LABELS: &[&str] = &["process", "container", "role", "server", "command"];

families! {
    /// Families of memcached.
    FAMILIES:
    COMMANDS = counter("observer_memcached_commands_total", COMMAND_LABELS, "Commands sent to the server.");
    HITS = counter(
        "observer_memcached_hits_total",
        keys::LABELS,
        "Keys found, by the replies to get, gets, gat, gats and mg.",
    );
    MISSES = counter(
        "observer_memcached_misses_total",
        keys::LABELS,
        "Keys not found, by the replies to get, gets, gat, gats and mg.",
    );
    LATENCIES = histogram(
        "observer_memcached_seconds",
        &LATENCY_BOUNDS,
        COMMAND_LABELS,
        "Time from a command to the end of its reply: get and its kin, set and ms.",
    );
    UNMATCHED = counter(
        "observer_memcached_unmatched_replies_total",
        LABELS,
        "Replies past the limit of commands in flight, whose hits, misses and latencies are left out.",
    );
}

/// The families of keys found, and of keys not found.
pub const LOOKUPS: [&Description; 2] = [&HITS, &MISSES];

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        for (server, totals) in &totals.books.memcached {
            fill_server(families, [process, container, role, server], totals);
        }
    }
}

fn fill_server(families: &mut Families, labels: [&str; 4], totals: &Totals) {
    let [process, container, role, server] = labels;
    for (command, &count) in Command::ALL.into_iter().zip(&totals.commands) {
        families.of(&COMMANDS).count([process, container, role, server, command.name()], count);
    }
    totals.keys.fill(families, LOOKUPS, labels);
    let latencies =
        [(Command::Get, &totals.gets, totals.get_ns), (Command::Set, &totals.sets, totals.set_ns)];
    for (command, counts, nanoseconds) in latencies {
        let labels = [process, container, role, server, command.name()];
        families.of(&LATENCIES).observe(labels, counts, seconds(nanoseconds));
    }
    families.of(&UNMATCHED).count(labels, totals.unmatched);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use observer_ebpf::layout::Role;
    use observer_ebpf::layout::names::KeyCounts;
    use observer_ebpf::protocols::memcached::layout::Command;

    use crate::labels::Group;
    use crate::ledger::{GroupTotals, View};
    use crate::metrics::encode;
    use crate::metrics::family::Families;
    use crate::protocols::memcached::Totals;

    #[test]
    fn a_server_reads_as_the_contract_says() {
        let group = Group { process: "app".to_owned(), container: String::new(), role: Role::Client };
        let mut totals = Totals {
            keys: [("user", KeyCounts { hits: 12, misses: 88 })].into(),
            gets: [1, 0, 0, 0, 0, 1],
            get_ns: 20_050_000,
            unmatched: 3,
            ..Totals::default()
        };
        totals.commands[Command::Get as usize] = 100;
        totals.commands[Command::Mg as usize] = 2;
        let server: Rc<str> = "10.0.0.7:11211".into();
        let mut of_group = GroupTotals::default();
        of_group.books.memcached.insert(server, totals);
        let view = View { groups: BTreeMap::from([(group, of_group)]), ..View::default() };
        let mut families = Families::new(&[super::FAMILIES]);
        super::fill(&mut families, &view);
        let text = encode::text(families);
        let labels = "process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:11211\"";
        for row in [
            "observer_memcached_commands_total{,command=\"get\"} 100",
            "observer_memcached_commands_total{,command=\"mg\"} 2",
            "observer_memcached_hits_total{,cache_key_prefix=\"user\"} 12",
            "observer_memcached_misses_total{,cache_key_prefix=\"user\"} 88",
            "observer_memcached_seconds_bucket{,command=\"get\",le=\"0.0001\"} 1",
            "observer_memcached_seconds_bucket{,command=\"get\",le=\"0.01\"} 1",
            "observer_memcached_seconds_sum{,command=\"get\"} 0.02005",
            "observer_memcached_seconds_count{,command=\"get\"} 2",
            "observer_memcached_unmatched_replies_total{} 3",
        ] {
            let row = row.replace('{', &format!("{{{labels}"));
            assert!(text.lines().any(|line| line == row), "{row} is not in:\n{text}");
        }
    }
}
