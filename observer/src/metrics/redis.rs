//! Redis families (RESP2, RESP3 and inline commands).

use std::collections::BTreeMap;

use observer_ebpf::layout::redis::{Command, ErrorKind, KeyCounts};

use super::family::{Description, Family, Value};
use super::{SERVER_LABELS as LABELS, role, seconds};
use crate::ledger::View;
use crate::redis::Totals;
use crate::redis::info::Asked;
use crate::redis::prefixes::Names;

/// As [`observer_ebpf::layout::redis::LATENCY_BOUNDS`], in seconds.
const LATENCY_BOUNDS: [f64; 5] = [0.0001, 0.0005, 0.001, 0.005, 0.01];
/// As [`observer_ebpf::layout::redis::SIZE_BOUNDS`].
const SIZE_BOUNDS: [f64; 8] = [16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1_048_576.0];
/// As [`observer_ebpf::layout::redis::TTL_BOUNDS`], in seconds.
const TTL_BOUNDS: [f64; 8] = [1.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0];

const PREFIX_LABELS: &[&str] = &["process", "container", "role", "server", "cache_key_prefix"];

const ACTIVE: Description =
    Description::gauge("redis_connections_active", LABELS, "Redis connections with an unanswered command.");
const IDLE: Description =
    Description::gauge("redis_connections_idle", LABELS, "Redis connections without an unanswered command.");
const HITS: Description = Description::counter(
    "redis_cache_hits_total",
    PREFIX_LABELS,
    "Keys found, by the replies to GET, MGET, HGET, GETEX, GETDEL and EXISTS.",
);
const MISSES: Description = Description::counter(
    "redis_cache_misses_total",
    PREFIX_LABELS,
    "Keys not found, by the replies to GET, MGET, HGET, GETEX, GETDEL and EXISTS.",
);
const GETS: Description = Description::histogram(
    "redis_get_latency_seconds",
    &LATENCY_BOUNDS,
    LABELS,
    "Time from a GET to its reply.",
);
const SETS: Description = Description::histogram(
    "redis_set_latency_seconds",
    &LATENCY_BOUNDS,
    LABELS,
    "Time from a SET to its reply.",
);
const COMMANDS: Description = Description::counter(
    "observer_redis_commands_total",
    &["process", "container", "role", "server", "command"],
    "Commands sent to the server.",
);
const ERRORS: Description = Description::counter(
    "observer_redis_errors_total",
    &["process", "container", "role", "server", "kind"],
    "Error replies by the first word of the message.",
);
const SIZES: Description = Description::histogram(
    "redis_key_size_bytes",
    &SIZE_BOUNDS,
    LABELS,
    "Length of the values that SET and its kin write.",
);
const TTLS: Description = Description::histogram(
    "redis_ttl_seconds",
    &TTL_BOUNDS,
    LABELS,
    "Times to live given, with a write or by EXPIRE and its kin.",
);
const WITHOUT_TTL: Description = Description::counter(
    "observer_redis_writes_without_ttl_total",
    LABELS,
    "Values written without a time to live.",
);
const UNMATCHED: Description = Description::counter(
    "observer_redis_unmatched_replies_total",
    LABELS,
    "Replies past the limit of commands in flight, whose hits, misses and latencies are left out.",
);
const MEMORY: Description = Description::gauge(
    "redis_memory_used_bytes",
    LABELS,
    "used_memory in the server's newest reply to INFO.",
);
const LIMIT: Description = Description::gauge(
    "observer_redis_memory_limit_bytes",
    LABELS,
    "maxmemory in the server's newest reply to INFO; 0 without one.",
);
const EVICTIONS: Description =
    Description::gauge("redis_evictions_total", LABELS, "evicted_keys in the server's newest reply to INFO.");
const INFO_UP: Description = Description::gauge(
    "observer_redis_info_up",
    &["server"],
    "Whether a server of --redis-info answered when it was last asked.",
);

/// The families of a view.
pub fn families(view: &View) -> Vec<Family> {
    let [mut active, mut idle, mut hits, mut misses] = [ACTIVE, IDLE, HITS, MISSES].map(Family::new);
    let [mut gets, mut sets, mut sizes, mut ttls] = [GETS, SETS, SIZES, TTLS].map(Family::new);
    let [mut commands, mut errors, mut without_ttl, mut unmatched] =
        [COMMANDS, ERRORS, WITHOUT_TTL, UNMATCHED].map(Family::new);
    for ((group, server), (totals, open)) in &view.redis {
        let labels = [&*group.process, &*group.container, role(group.role), server];
        active.push(labels, Value::Gauge(open.active as f64));
        idle.push(labels, Value::Gauge(open.idle as f64));
        let [process, container, role, server] = labels;
        for (prefix, counts) in by_prefix(totals, &view.prefixes) {
            hits.count([process, container, role, server, prefix], counts.hits);
            misses.count([process, container, role, server, prefix], counts.misses);
        }
        gets.observe(labels, &totals.gets, seconds(totals.get_ns));
        sets.observe(labels, &totals.sets, seconds(totals.set_ns));
        sizes.observe(labels, &totals.sizes, totals.value_bytes as f64);
        ttls.observe(labels, &totals.ttls, totals.ttl_ms as f64 / 1e3);
        for (command, &count) in Command::ALL.into_iter().zip(&totals.commands) {
            commands.count([process, container, role, server, command.name()], count);
        }
        for (kind, &count) in ErrorKind::ALL.into_iter().zip(&totals.errors) {
            errors.count([process, container, role, server, kind.name()], count);
        }
        without_ttl.count(labels, totals.writes_without_ttl);
        unmatched.count(labels, totals.unmatched);
    }
    let [mut memory, mut limit, mut evictions] = [MEMORY, LIMIT, EVICTIONS].map(Family::new);
    for ((group, server), info) in &view.redis_info {
        let labels = [&*group.process, &*group.container, role(group.role), server];
        for (family, told) in [
            (&mut memory, info.memory_used),
            (&mut limit, info.memory_limit),
            (&mut evictions, info.evicted_keys),
        ] {
            if let Some(told) = told {
                family.push(labels, Value::Gauge(told.value as f64));
            }
        }
    }
    vec![
        active,
        idle,
        hits,
        misses,
        gets,
        sets,
        commands,
        errors,
        sizes,
        ttls,
        without_ttl,
        unmatched,
        memory,
        limit,
        evictions,
    ]
}

/// The family of servers that the agent asks itself.
pub fn asked(servers: &[Asked]) -> Family {
    let mut up = Family::new(INFO_UP);
    for server in servers {
        if let Some(is_up) = server.is_up() {
            up.push([server.server()], Value::Gauge(if is_up { 1.0 } else { 0.0 }));
        }
    }
    up
}

/// Keys by the name of their prefix: one may be called what other keys count under.
fn by_prefix<'a>(totals: &Totals, names: &'a Names) -> BTreeMap<&'a str, KeyCounts> {
    let mut sums: BTreeMap<&str, KeyCounts> = BTreeMap::new();
    for (number, counts) in &totals.keys {
        if let Some(name) = names.get(number) {
            let sum = sums.entry(name).or_default();
            sum.hits += counts.hits;
            sum.misses += counts.misses;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use observer_ebpf::layout::Role;
    use observer_ebpf::layout::redis::{self, Command, ErrorKind, KeyCounts};

    use crate::ledger::{Group, View};
    use crate::metrics::encode;
    use crate::redis::info::{Info, Told};
    use crate::redis::{Open, Totals};

    #[test]
    fn bounds_are_those_of_the_kernel_half() {
        let scaled = |bounds: &[f64], scale: f64| -> Vec<f64> {
            bounds.iter().map(|bound| (bound * scale).round()).collect()
        };
        let as_float = |bounds: &[u64]| -> Vec<f64> { bounds.iter().map(|&bound| bound as f64).collect() };
        assert_eq!(scaled(&super::LATENCY_BOUNDS, 1e9), as_float(&redis::LATENCY_BOUNDS));
        assert_eq!(scaled(&super::SIZE_BOUNDS, 1.0), as_float(&redis::SIZE_BOUNDS));
        assert_eq!(scaled(&super::TTL_BOUNDS, 1e3), as_float(&redis::TTL_BOUNDS));
    }

    #[test]
    fn a_server_reads_as_the_contract_says() {
        let group = Group { process: "app".to_owned(), container: String::new(), role: Role::Client };
        let keys = |hits, misses| KeyCounts { hits, misses };
        let mut totals = Totals {
            // A prefix that is called "other" is not told apart from what is.
            keys: BTreeMap::from([(0, keys(1, 0)), (1, keys(2, 3)), (2, keys(12, 88)), (3, keys(4, 0))]),
            gets: [1, 0, 0, 0, 0, 1],
            get_ns: 20_050_000,
            ttl_ms: 1_500,
            writes_without_ttl: 3,
            ..Totals::default()
        };
        totals.commands[Command::Get as usize] = 2;
        totals.errors[ErrorKind::Oom as usize] = 1;
        totals.ttls[1] = 1;
        let names = [(0, "none"), (1, "other"), (2, "user"), (3, "other")];
        let served = (group, "10.0.0.7:6379".into());
        let info = Info {
            netns: 1,
            memory_used: Some(Told { at_ns: 1, value: 4096 }),
            memory_limit: Some(Told { at_ns: 1, value: 8192 }),
            evicted_keys: Some(Told { at_ns: 1, value: 0 }),
        };
        let view = View {
            redis: BTreeMap::from([(served.clone(), (totals, Open { active: 1, idle: 2 }))]),
            redis_info: BTreeMap::from([(served, info)]),
            prefixes: Rc::new(names.map(|(number, name)| (number, name.into())).into()),
            ..View::default()
        };
        let text =
            encode::encode(encode::Format::Text, &super::families(&view), &[]).expect("it can be encoded");
        let text = String::from_utf8(text).expect("it is text");
        let labels = "process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:6379\"";
        for row in [
            "redis_connections_active{} 1",
            "redis_connections_idle{} 2",
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
