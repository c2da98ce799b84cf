//! Processes with their open connections added up, the busiest first, and the node's own rates: what
//! `/processes` answers, and what `observer top` and the page at `/` show besides flows.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::KeyCounts;
use serde::{Deserialize, Serialize};

use crate::connections;
use crate::events;
use crate::flows::PerDirection;
use crate::labels;
use crate::ledger::{Flow, Ledger};
use crate::names::Names;
use crate::process::{Identity, NOBODY};
use crate::protocols::tls::Encrypted;
use crate::protocols::websocket::{MessageSizes, families, messages_of};
use crate::protocols::{postgres, redis};
use crate::recent::Recent;

/// Everything but the flows, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Seconds since 1970 when it was collected.
    pub time: f64,
    /// The agent's.
    pub version: String,
    /// WebSocket data messages a second on the node over the last ten seconds, those between two local
    /// processes counted once.
    pub messages_per_second: f64,
    /// Times that this rate rose above `--spike-threshold`.
    pub spikes: u64,
    /// Open connections by protocol.
    pub connections: BTreeMap<String, u64>,
    /// Sizes of complete WebSocket data messages, each end's and both directions' added up.
    pub message_sizes: Vec<SizeBucket>,
    /// Every process with an open connection, or with a request of HTTP over the last ten seconds, the one with the most
    /// bytes a second first.
    pub processes: Vec<Process>,
    /// That encrypted connections are open of which nothing is read, and what would read them.
    #[serde(default)]
    pub tls_hint: Option<String>,
}

/// Messages of some range of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeBucket {
    /// At most so many bytes; `None` for those above all bounds.
    pub le: Option<f64>,
    /// Messages of at most that, and more than the bound before.
    pub count: u64,
}

/// A process, and what its open connections do and have done. What a connection did before another process
/// passed it on is that one's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its name.
    pub process: String,
    /// Its thread-group id.
    pub pid: u32,
    /// Its container, or empty.
    pub container: String,
    /// Open connections by protocol.
    pub connections: BTreeMap<String, u64>,
    /// Postgres and Redis sessions, either end's, by state: `active`, `idle`, `idle_in_transaction`,
    /// `waiting`, `replication`, `blocked`.
    pub states: BTreeMap<String, u64>,
    /// Over the last ten seconds.
    pub bytes_per_second: PerDirection<f64>,
    /// WebSocket data messages, over the last ten seconds.
    pub messages_per_second: PerDirection<f64>,
    /// Since each open connection was first seen.
    pub bytes: PerDirection<u64>,
    /// WebSocket data messages, since each open connection was first seen.
    pub messages: PerDirection<u64>,
    /// Oversized messages of its open connections, both directions added up.
    pub oversized: u64,
    /// Lookups in caches that found a key, since the process was first seen to do any.
    pub cache_hits: u64,
    /// Those that found none.
    pub cache_misses: u64,
    /// TCP segments sent again on its open connections.
    pub retransmits: u64,
    /// What its requests of HTTP were like over the last ten seconds, by its role: `server` for those that it has
    /// answered, `client` for those that it has made. A role without any since the agent's start is not there.
    #[serde(default)]
    pub requests: BTreeMap<String, Recent>,
}

impl Overview {
    /// Adds up open connections, of which `connections` are the slots in use; processes past `limit` are left
    /// out of the list.
    pub fn new(
        ledger: &Ledger,
        names: &Names,
        connections: impl Iterator<Item = (u32, Connection)>,
        limit: usize,
        now_ns: u64,
    ) -> Self {
        let mut processes: HashMap<Option<Rc<Identity>>, OpenTotals> = HashMap::new();
        let mut by_protocol = [0; Protocol::COUNT];
        let mut sizes = ledger.message_sizes_of_gone();
        let mut encrypted = Encrypted::default();
        for (index, connection) in connections {
            for counters in &connection.websocket().streams {
                sizes.add(counters);
            }
            let Some(flow) = ledger.flow(index, &connection) else { continue };
            by_protocol[flow.protocol as usize] += 1;
            encrypted.add(&connection);
            processes.entry(flow.identity.cloned()).or_default().add(ledger, &flow, &connection);
        }
        names.for_each_lookup(|identity, counts| {
            if let Some(totals) = processes.get_mut(&Some(Rc::clone(identity))) {
                totals.lookups += counts;
            }
        });
        for ((identity, role), sums, recent) in names.processes(now_ns) {
            let identity = Some(identity);
            // One whose connections are short may have none just now.
            if sums.requests > 0 && (recent.requests_per_second > 0.0 || processes.contains_key(&identity)) {
                let totals = processes.entry(identity).or_default();
                totals.requests.insert(labels::role(role).to_owned(), recent);
            }
        }
        let mut processes: Vec<Process> =
            processes.into_iter().map(|(identity, totals)| totals.process(identity.as_deref())).collect();
        let rate = |process: &Process| process.bytes_per_second.sent + process.bytes_per_second.received;
        processes.sort_by(|one, other| {
            let bytes = |process: &Process| process.bytes.sent + process.bytes.received;
            let by_bytes = rate(other).total_cmp(&rate(one)).then(bytes(other).cmp(&bytes(one)));
            by_bytes.then(one.pid.cmp(&other.pid))
        });
        processes.truncate(limit);
        let bounds = families::BOUNDS.iter().map(|&bound| Some(bound)).chain([None]);
        Self {
            time: events::wall_clock(now_ns),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            messages_per_second: ledger.node().rate(),
            spikes: ledger.node().spikes(),
            connections: named(by_protocol),
            message_sizes: bounds.zip(sizes.counts).map(|(le, count)| SizeBucket { le, count }).collect(),
            processes,
            tls_hint: ledger.tls_hint(encrypted),
        }
    }
}

fn named(by_protocol: [u64; Protocol::COUNT]) -> BTreeMap<String, u64> {
    Protocol::ALL
        .into_iter()
        .map(|protocol| (protocol.label().to_owned(), by_protocol[protocol as usize]))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// One process's open connections, added up.
#[derive(Default)]
struct OpenTotals {
    connections: [u64; Protocol::COUNT],
    postgres: postgres::Open,
    redis: redis::Open,
    /// Bytes, then messages, each by direction.
    rates: [f64; 4],
    totals: [u64; 4],
    sizes: MessageSizes,
    lookups: KeyCounts,
    retransmits: u64,
    requests: BTreeMap<String, Recent>,
}

impl OpenTotals {
    fn add(&mut self, ledger: &Ledger, flow: &Flow<'_>, connection: &Connection) {
        self.connections[flow.protocol as usize] += 1;
        for (sum, rate) in self.rates.iter_mut().zip(flow.rates) {
            *sum += rate;
        }
        let seen = connections::bytes(connection).into_iter().chain(messages_of(connection));
        for (sum, count) in self.totals.iter_mut().zip(seen) {
            *sum += count;
        }
        for counters in &connection.websocket().streams {
            self.sizes.add(counters);
        }
        self.retransmits += u64::from(connection.retransmits);
        match ledger.session_protocol(connection) {
            Protocol::Postgres => self.postgres.add(connection),
            Protocol::Redis => {
                self.redis.add(connection);
                let counts = connection.redis();
                let (hits, misses) = (u64::from(counts.hits_other), u64::from(counts.misses_other));
                self.lookups += KeyCounts { hits, misses };
            }
            Protocol::Unknown
            | Protocol::Http
            | Protocol::Http2
            | Protocol::Fastcgi
            | Protocol::Scgi
            | Protocol::WebSocket
            | Protocol::Kafka
            | Protocol::Memcached
            | Protocol::Tls => {}
        }
    }

    fn process(self, identity: Option<&Identity>) -> Process {
        let states = [
            ("active", self.postgres.active + self.redis.active),
            ("idle", self.postgres.idle + self.redis.idle),
            ("idle_in_transaction", self.postgres.in_transaction),
            ("waiting", self.postgres.waiting),
            ("replication", self.postgres.replication),
            ("blocked", self.redis.blocked),
        ];
        let [sent_rate, received_rate, sent_messages_rate, received_messages_rate] = self.rates;
        let [sent, received, sent_messages, received_messages] = self.totals;
        Process {
            process: identity.map_or(NOBODY, |identity| &identity.name).to_owned(),
            pid: identity.map_or(0, |identity| identity.pid),
            container: identity.map(|identity| identity.container.clone()).unwrap_or_default(),
            connections: named(self.connections),
            states: states
                .into_iter()
                .filter(|&(_, count)| count > 0)
                .map(|(state, count)| (state.to_owned(), count))
                .collect(),
            bytes_per_second: PerDirection::new([sent_rate, received_rate]),
            messages_per_second: PerDirection::new([sent_messages_rate, received_messages_rate]),
            bytes: PerDirection::new([sent, received]),
            messages: PerDirection::new([sent_messages, received_messages]),
            oversized: self.sizes.oversized.iter().sum(),
            cache_hits: self.lookups.hits,
            cache_misses: self.lookups.misses,
            retransmits: self.retransmits,
            requests: self.requests,
        }
    }
}
