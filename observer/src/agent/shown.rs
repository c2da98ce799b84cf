//! What the agent answers besides metrics: flows, processes, routes, queues, events, and how it is.

use std::collections::BTreeMap;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::losses::Unread;
use serde::Serialize;

use super::Agent;
use crate::events::{self, Event};
use crate::flows::{Key, Query, Row};
use crate::kernel::namespaces::{self, Namespace};
use crate::kernel::privileges::Privileges;
use crate::probes::libraries::Attached;
use crate::probes::{Probe, State};
use crate::processes::Overview;
use crate::protocols::redis::info::InfoPoll;
use crate::queues::shown::Queues;
use crate::routes::Routes;
use crate::{address, metrics};

/// Flows that are read together.
const BLOCK: usize = 1_000;

/// What `/status` says.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    version: &'static str,
    uptime_seconds: f64,
    /// How sends and receives are seen.
    data_path: &'static str,
    probes: &'a [Probe],
    /// Members that this kernel's structures do not have, with what is not known without each.
    missing_members: &'a [String],
    tracked_connections: u64,
    untracked_connections: u64,
    processes: usize,
    events_lost: u64,
    missed_runs: u64,
    handoffs_refused: u64,
    unparsed_bytes: BTreeMap<&'static str, u64>,
    pid_namespace: Namespace,
    cgroup_namespace: Namespace,
    privileges: Privileges,
    redis_info: &'a [InfoPoll],
    /// TLS libraries in which plaintext is read.
    tls_libraries: &'a [Attached],
    /// The pid of the process that attaches to those that are mapped later, if there is one.
    tls_attacher: Option<u32>,
}

impl Agent {
    /// The flows that are asked for.
    pub fn flows(&mut self, query: &Query) -> impl Iterator<Item = Row> {
        let mut unknown = false;
        let mut places: Vec<(Key, u32)> = self
            .connections()
            .filter_map(|(index, connection)| {
                let flow = self.ledger.flow(index, &connection)?;
                unknown |= !self.probes.names.requests.knows(&connection);
                query.wants(&flow, &connection).then(|| (query.sort.key(&flow, &connection), index))
            })
            .collect();
        if unknown && let Err(error) = self.probes.names.requests.learn_all() {
            log::warn!("cannot read what requests are of: {error}");
        }
        let agent: &Self = self;
        let limit = query.limit.unwrap_or(usize::MAX);
        if limit < places.len() {
            if limit > 0 {
                places.select_nth_unstable_by(limit - 1, |(one, _), (other, _)| one.order(other));
            }
            places.truncate(limit);
        }
        places.sort_unstable_by(|(one, _), (other, _)| one.order(other));
        let now_ns = events::monotonic_now_ns();
        (0..places.len()).step_by(BLOCK).flat_map(move |start| {
            let block = &places[start..places.len().min(start + BLOCK)];
            agent.rows(block, now_ns)
        })
    }

    /// The rows of flows in these places, in this order.
    fn rows(&self, places: &[(Key, u32)], now_ns: u64) -> Vec<Row> {
        // Read in the order in which they lie.
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_unstable_by_key(|&rank| places[rank].1);
        let mut rows = vec![None; places.len()];
        for rank in order {
            rows[rank] = self.row(places[rank].1, now_ns);
        }
        rows.into_iter().flatten().collect()
    }

    fn row(&self, index: u32, now_ns: u64) -> Option<Row> {
        let connection = self.connection(index)?;
        let path = self.path(index, connection.family);
        let ends = address::ends_of(&connection, path.as_ref());
        let flow = self.ledger.flow(index, &connection)?;
        let is_http = flow.protocol == Protocol::Http;
        let http = is_http.then(|| self.probes.names.requests.of_connection(&connection, now_ns));
        Some(Row { http, ..Row::new(&flow, &connection, ends, now_ns) })
    }

    /// All but the flows, with at most so many processes. What is counted by name is that of the last
    /// [`Agent::collect_all`].
    pub fn overview(&self, limit: usize) -> Overview {
        let names = &self.probes.names;
        Overview::new(&self.ledger, names, self.connections(), limit, events::monotonic_now_ns())
    }

    /// At most so many routes of HTTP, the busiest first, as they were at the last [`Agent::collect_all`].
    pub fn routes(&self, limit: usize) -> Routes {
        self.probes.names.routes(limit, events::monotonic_now_ns())
    }

    /// At most so many message queues, those in which most wait first, as they were at the last [`Agent::collect_all`].
    pub fn queues(&self, limit: usize) -> Queues {
        self.probes.names.shown_queues(limit, events::monotonic_now_ns())
    }

    /// The most recent events.
    pub fn events(&self) -> Vec<&Event> {
        self.events.recent().collect()
    }

    /// How it is, in a few words.
    pub fn summary(&self) -> String {
        let probes = &self.probes.probes;
        let up = probes.iter().filter(|probe| probe.state == State::Up).count();
        format!("{up} of {} programs attached", probes.len())
    }

    /// What `/status` says.
    pub fn status(&self) -> Status<'_> {
        let losses = self.losses();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            data_path: self.probes.data_path,
            probes: &self.probes.probes,
            missing_members: &self.probes.missing_members,
            tracked_connections: self.probes.arena.tracked(),
            untracked_connections: losses.untracked,
            processes: self.ledger.living(),
            events_lost: losses.events_lost,
            missed_runs: self.probes.missed_runs(),
            handoffs_refused: losses.handoffs_refused,
            unparsed_bytes: Unread::ALL
                .into_iter()
                .map(|reason| (metrics::agent::unread(reason), losses.unread_bytes[reason as usize]))
                .collect(),
            pid_namespace: namespaces::pid(),
            cgroup_namespace: namespaces::cgroup(),
            privileges: Privileges::now(),
            redis_info: &self.redis_polls,
            tls_libraries: &self.probes.libraries,
            tls_attacher: self.probes.follower(),
        }
    }
}
