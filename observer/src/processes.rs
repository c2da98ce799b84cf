//! Processes with their open connections added up, the busiest first, and the node's own rates: what
//! `/processes` answers, and what `observer top` and the page at `/` show besides flows.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::Connection;
use serde::{Deserialize, Serialize};

use crate::flows::Both;
use crate::ledger::{Flow, Ledger};
use crate::metrics;
use crate::process::{Identity, NOBODY};
use crate::totals::{self, Sizes, messages};
use crate::{postgres, redis};

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
    /// Every process with an open connection, the one with the most bytes a second first.
    pub processes: Vec<Process>,
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
    /// `waiting`.
    pub states: BTreeMap<String, u64>,
    /// Over the last ten seconds.
    pub bytes_per_second: Both<f64>,
    /// WebSocket data messages, over the last ten seconds.
    pub messages_per_second: Both<f64>,
    /// Since each open connection was first seen.
    pub bytes: Both<u64>,
    /// WebSocket data messages, since each open connection was first seen.
    pub messages: Both<u64>,
    /// Oversized messages of its open connections, both directions added up.
    pub oversized: u64,
    /// Redis lookups of its open sessions that found a key.
    pub cache_hits: u64,
    /// Those that found none.
    pub cache_misses: u64,
    /// TCP segments sent again on its open connections.
    pub retransmits: u64,
}

impl Overview {
    /// Adds up open connections, of which `connections` are the elements in use; processes past `limit` are left
    /// out of the list.
    pub fn new(
        ledger: &Ledger,
        connections: impl Iterator<Item = (u32, Connection)>,
        limit: usize,
        time: f64,
    ) -> Self {
        let mut processes: HashMap<Option<Rc<Identity>>, Tally> = HashMap::new();
        let mut by_protocol = [0; Protocol::ALL.len()];
        let mut sizes = ledger.sizes_of_gone();
        for (index, connection) in connections {
            for counters in connection.websocket() {
                sizes.add(counters);
            }
            let Some(flow) = ledger.flow(index, &connection) else { continue };
            by_protocol[flow.protocol as usize] += 1;
            processes.entry(flow.identity.cloned()).or_default().add(ledger, &flow, &connection);
        }
        let mut processes: Vec<Process> =
            processes.into_iter().map(|(identity, tally)| tally.process(identity.as_deref())).collect();
        let rate = |process: &Process| process.bytes_per_second.sent + process.bytes_per_second.received;
        processes.sort_by(|one, other| {
            let bytes = |process: &Process| process.bytes.sent + process.bytes.received;
            let by_bytes = rate(other).total_cmp(&rate(one)).then(bytes(other).cmp(&bytes(one)));
            by_bytes.then(one.pid.cmp(&other.pid))
        });
        processes.truncate(limit);
        let bounds = metrics::websocket::BOUNDS.iter().map(|&bound| Some(bound)).chain([None]);
        Self {
            time,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            messages_per_second: ledger.node().rate(),
            spikes: ledger.node().spikes(),
            connections: named(by_protocol),
            message_sizes: bounds.zip(sizes.counts).map(|(le, count)| SizeBucket { le, count }).collect(),
            processes,
        }
    }
}

fn named(by_protocol: [u64; Protocol::ALL.len()]) -> BTreeMap<String, u64> {
    let named = Protocol::ALL.into_iter().map(|protocol| (metrics::protocol(protocol).to_owned(), protocol));
    named
        .map(|(name, protocol)| (name, by_protocol[protocol as usize]))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// One process's connections, added up.
#[derive(Default)]
struct Tally {
    connections: [u64; Protocol::ALL.len()],
    postgres: postgres::Open,
    redis: redis::Open,
    /// Bytes, then messages, each by direction.
    rates: [f64; 4],
    totals: [u64; 4],
    sizes: Sizes,
    hits: u64,
    misses: u64,
    retransmits: u64,
}

impl Tally {
    fn add(&mut self, ledger: &Ledger, flow: &Flow<'_>, connection: &Connection) {
        self.connections[flow.protocol as usize] += 1;
        for (sum, rate) in self.rates.iter_mut().zip(flow.rates) {
            *sum += rate;
        }
        let counters = connection.websocket();
        let seen = totals::bytes(connection).into_iter().chain(counters.iter().map(messages));
        for (sum, count) in self.totals.iter_mut().zip(seen) {
            *sum += count;
        }
        for counters in counters {
            self.sizes.add(counters);
        }
        self.retransmits += u64::from(connection.retransmits);
        match ledger.session_protocol(connection) {
            Protocol::Postgres => self.postgres.add(connection, Protocol::Postgres),
            Protocol::Redis => {
                self.redis.add(connection);
                let counts = connection.redis();
                self.hits += u64::from(counts.hits_other);
                self.misses += u64::from(counts.misses_other);
                for (_, counts) in ledger.keys_of(connection.id) {
                    self.hits += counts.hits;
                    self.misses += counts.misses;
                }
            }
            Protocol::Unknown | Protocol::Http | Protocol::WebSocket | Protocol::Tls => {}
        }
    }

    fn process(self, identity: Option<&Identity>) -> Process {
        let states = [
            ("active", self.postgres.active + self.redis.active),
            ("idle", self.postgres.idle + self.redis.idle),
            ("idle_in_transaction", self.postgres.in_transaction),
            ("waiting", self.postgres.waiting),
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
            bytes_per_second: Both::new([sent_rate, received_rate]),
            messages_per_second: Both::new([sent_messages_rate, received_messages_rate]),
            bytes: Both::new([sent, received]),
            messages: Both::new([sent_messages, received_messages]),
            oversized: self.sizes.oversized.iter().sum(),
            cache_hits: self.hits,
            cache_misses: self.misses,
            retransmits: self.retransmits,
        }
    }
}
