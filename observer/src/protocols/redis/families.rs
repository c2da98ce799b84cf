//! Families of Redis (RESP2, RESP3 and inline commands).

use observer_ebpf::protocols::redis::layout::{self, Command, ErrorKind};

use super::Totals;
use super::info::InfoPoll;
use crate::ledger::View;
use crate::metrics::SERVER_LABELS as LABELS;
use crate::metrics::family::{Description, Families, SECOND_NS, Value, bounds, seconds};
use crate::protocols::keys;

/// Milliseconds of a second.
const SECOND_MS: u64 = 1_000;

const LATENCY_BOUNDS: [f64; 5] = bounds(&layout::LATENCY_BOUNDS, SECOND_NS);
const SIZE_BOUNDS: [f64; 8] = bounds(&layout::SIZE_BOUNDS, 1);
const TTL_BOUNDS: [f64; 8] = bounds(&layout::TTL_BOUNDS, SECOND_MS);

families! {
    /// Families of Redis.
    FAMILIES:
    ACTIVE = gauge("redis_connections_active", LABELS, "Redis connections with an unanswered command.");
    IDLE = gauge("redis_connections_idle", LABELS, "Redis connections without an unanswered command.");
    BLOCKED = gauge(
        "observer_redis_connections_blocked",
        LABELS,
        "Redis connections with an unanswered command that waits by its nature, such as BLPOP.",
    );
    HITS = counter(
        "redis_cache_hits_total",
        keys::LABELS,
        "Keys found, by the replies to GET, MGET, HGET, GETEX, GETDEL and EXISTS.",
    );
    MISSES = counter(
        "redis_cache_misses_total",
        keys::LABELS,
        "Keys not found, by the replies to GET, MGET, HGET, GETEX, GETDEL and EXISTS.",
    );
    GETS = histogram("redis_get_latency_seconds", &LATENCY_BOUNDS, LABELS, "Time from a GET to its reply.");
    SETS = histogram("redis_set_latency_seconds", &LATENCY_BOUNDS, LABELS, "Time from a SET to its reply.");
    COMMANDS = counter(
        "observer_redis_commands_total",
        &["process", "container", "role", "server", "command"],
        "Commands sent to the server.",
    );
    ERRORS = counter(
        "observer_redis_errors_total",
        &["process", "container", "role", "server", "kind"],
        "Error replies by the first word of the message.",
    );
    SIZES = histogram(
        "redis_key_size_bytes",
        &SIZE_BOUNDS,
        LABELS,
        "Length of the values that SET and its kin write.",
    );
    TTLS = histogram(
        "redis_ttl_seconds",
        &TTL_BOUNDS,
        LABELS,
        "Times to live given, with a write or by EXPIRE and its kin.",
    );
    WITHOUT_TTL = counter(
        "observer_redis_writes_without_ttl_total",
        LABELS,
        "Values written without a time to live.",
    );
    UNMATCHED = counter(
        "observer_redis_unmatched_replies_total",
        LABELS,
        "Replies past the limit of commands in flight, whose hits, misses and latencies are left out.",
    );
    MEMORY = gauge("redis_memory_used_bytes", LABELS, "used_memory in the server's newest reply to INFO.");
    LIMIT = gauge(
        "observer_redis_memory_limit_bytes",
        LABELS,
        "maxmemory in the server's newest reply to INFO; 0 without one.",
    );
    EVICTIONS = gauge("redis_evictions_total", LABELS, "evicted_keys in the server's newest reply to INFO.");
    INFO_UP = gauge(
        "observer_redis_info_up",
        &["server"],
        "Whether a server of --redis-info answered when it was last asked.",
    );
}

/// The families of keys found, and of keys not found.
pub const LOOKUPS: [&Description; 2] = [&HITS, &MISSES];

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        for (server, totals) in &totals.books.redis {
            fill_server(families, [process, container, role, server], totals);
        }
    }
    for ((group, server), info) in &view.redis_info {
        let [process, container, role] = group.labels();
        let labels = [process, container, role, server];
        let told =
            [(&MEMORY, info.memory_used), (&LIMIT, info.memory_limit), (&EVICTIONS, info.evicted_keys)];
        for (family, told) in told {
            if let Some(told) = told {
                families.of(family).push(labels, Value::Gauge(told.value as f64));
            }
        }
    }
}

fn fill_server(families: &mut Families, labels: [&str; 4], totals: &Totals) {
    families.of(&ACTIVE).push(labels, Value::Gauge(totals.open.active as f64));
    families.of(&IDLE).push(labels, Value::Gauge(totals.open.idle as f64));
    families.of(&BLOCKED).push(labels, Value::Gauge(totals.open.blocked as f64));
    let [process, container, role, server] = labels;
    totals.keys.fill(families, LOOKUPS, labels);
    families.of(&GETS).observe(labels, &totals.gets, seconds(totals.get_ns));
    families.of(&SETS).observe(labels, &totals.sets, seconds(totals.set_ns));
    families.of(&SIZES).observe(labels, &totals.sizes, totals.value_bytes as f64);
    families.of(&TTLS).observe(labels, &totals.ttls, totals.ttl_ms as f64 / SECOND_MS as f64);
    for (command, &count) in Command::ALL.into_iter().zip(&totals.commands) {
        families.of(&COMMANDS).count([process, container, role, server, command.name()], count);
    }
    for (kind, &count) in ErrorKind::ALL.into_iter().zip(&totals.errors) {
        families.of(&ERRORS).count([process, container, role, server, kind.name()], count);
    }
    families.of(&WITHOUT_TTL).count(labels, totals.writes_without_ttl);
    families.of(&UNMATCHED).count(labels, totals.unmatched);
}

/// Adds the rows of servers that the agent asks itself.
pub fn fill_polls(families: &mut Families, polls: &[InfoPoll]) {
    for poll in polls {
        if let Some(is_up) = poll.is_up() {
            families.of(&INFO_UP).push([poll.server()], Value::Gauge(f64::from(u8::from(is_up))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use observer_ebpf::layout::Role;
    use observer_ebpf::layout::names::KeyCounts;
    use observer_ebpf::protocols::redis::layout::{Command, ErrorKind};

    use crate::labels::Group;
    use crate::ledger::{GroupTotals, View};
    use crate::metrics::encode;
    use crate::metrics::family::Families;
    use crate::protocols::redis::info::{Info, Told};
    use crate::protocols::redis::{Open, Totals};

    #[test]
    fn a_server_reads_as_the_contract_says() {
        let group = Group { process: "app".to_owned(), container: String::new(), role: Role::Client };
        let keys = |hits, misses| KeyCounts { hits, misses };
        let mut totals = Totals {
            keys: [("none", keys(1, 0)), ("other", keys(6, 3)), ("user", keys(12, 88))].into(),
            gets: [1, 0, 0, 0, 0, 1],
            get_ns: 20_050_000,
            ttl_ms: 1_500,
            writes_without_ttl: 3,
            open: Open { active: 1, idle: 2, blocked: 3 },
            ..Totals::default()
        };
        totals.commands[Command::Get as usize] = 2;
        totals.errors[ErrorKind::Oom as usize] = 1;
        totals.ttls[1] = 1;
        let server: std::rc::Rc<str> = "10.0.0.7:6379".into();
        let info = Info {
            netns: 1,
            memory_used: Some(Told { at_ns: 1, value: 4096 }),
            memory_limit: Some(Told { at_ns: 1, value: 8192 }),
            evicted_keys: Some(Told { at_ns: 1, value: 0 }),
        };
        let mut of_group = GroupTotals::default();
        of_group.books.redis.insert(server.clone(), totals);
        let view = View {
            groups: BTreeMap::from([(group.clone(), of_group)]),
            redis_info: BTreeMap::from([((group, server), info)]),
            ..View::default()
        };
        let mut families = Families::new(&[super::FAMILIES]);
        super::fill(&mut families, &view);
        let text = encode::text(families);
        let labels = "process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:6379\"";
        for row in [
            "redis_connections_active{} 1",
            "redis_connections_idle{} 2",
            "observer_redis_connections_blocked{} 3",
            "redis_cache_hits_total{,cache_key_prefix=\"none\"} 1",
            "redis_cache_hits_total{,cache_key_prefix=\"other\"} 6",
            "redis_cache_hits_total{,cache_key_prefix=\"user\"} 12",
            "redis_cache_misses_total{,cache_key_prefix=\"other\"} 3",
            "redis_cache_misses_total{,cache_key_prefix=\"user\"} 88",
            "redis_get_latency_seconds_bucket{,le=\"0.0001\"} 1",
            "redis_get_latency_seconds_bucket{,le=\"0.01\"} 1",
            "redis_get_latency_seconds_sum{} 0.02005",
            "redis_get_latency_seconds_count{} 2",
            "observer_redis_commands_total{,command=\"get\"} 2",
            "observer_redis_errors_total{,kind=\"OOM\"} 1",
            "redis_ttl_seconds_bucket{,le=\"1\"} 0",
            "redis_ttl_seconds_bucket{,le=\"10\"} 1",
            "redis_ttl_seconds_sum{} 1.5",
            "observer_redis_writes_without_ttl_total{} 3",
            "redis_memory_used_bytes{} 4096",
            "observer_redis_memory_limit_bytes{} 8192",
            "redis_evictions_total{} 0",
        ] {
            let row = row.replace('{', &format!("{{{labels}"));
            assert!(text.lines().any(|line| line == row), "{row} is not in:\n{text}");
        }
        assert_eq!(text.matches("cache_key_prefix=\"other\"").count(), 2, "{text}");
    }
}
