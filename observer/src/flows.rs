//! Flows: open connections with their rates, as `/flows` shows them.

use std::cmp::Ordering;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::{Direction, Protocol, Role};
use serde::{Deserialize, Serialize};

use crate::address;
use crate::connections;
use crate::labels;
use crate::ledger::Flow;
use crate::protocols::websocket::messages_of;

/// A number for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerDirection<T> {
    /// Sent by the process.
    pub sent: T,
    /// Received by it.
    pub received: T,
}

impl<T: Copy> PerDirection<T> {
    /// Takes the value for what is sent, and the one for what is received.
    pub const fn new([sent, received]: [T; 2]) -> Self {
        Self { sent, received }
    }

    /// The number of a direction.
    pub const fn by(&self, direction: Direction) -> T {
        match direction {
            Direction::Sent => self.sent,
            Direction::Received => self.received,
        }
    }
}

/// What `/flows` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// As many as were asked for, in the order asked for.
    pub flows: Vec<Row>,
}

/// One flow as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The process's name.
    pub process: String,
    /// Its thread-group id.
    pub pid: u32,
    /// Its container, or empty.
    pub container: String,
    /// `client` or `server`.
    pub role: String,
    /// What is spoken.
    pub protocol: String,
    /// This end.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Whom a proxy has declared to be the client, in a header of the PROXY protocol; else empty.
    #[serde(default)]
    pub client: String,
    /// Network namespace, by inode number.
    pub netns: u32,
    /// Over the last ten seconds.
    pub bytes_per_second: PerDirection<f64>,
    /// WebSocket data messages, over the last ten seconds.
    pub messages_per_second: PerDirection<f64>,
    /// Payload since the connection was first seen. That of a TCP connection is TCP's own count where it is more
    /// than calls moved, as with `splice` and zero-copy receive.
    pub bytes: PerDirection<u64>,
    /// WebSocket data messages since the connection was first seen.
    pub messages: PerDirection<u64>,
    /// Since the connection was first seen.
    pub age_seconds: f64,
    /// TCP's smoothed round-trip time; `None` of a UNIX connection, and before TCP has measured any.
    pub rtt_seconds: Option<f64>,
    /// TCP segments sent again.
    pub retransmits: u32,
    /// Where it speaks HTTP: its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// Requests of one connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Http {
    /// Requests so far.
    pub requests: u64,
    /// Those of them that are not over.
    pub in_flight: u64,
    /// The oldest that is not over, where it is known which that is.
    pub current: Option<InFlight>,
}

/// A request that is not over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Its method.
    pub method: String,
    /// Its route; `unmatched` while nothing of that route has been answered.
    pub route: String,
    /// Whom it is addressed to, on a client's connection; else empty.
    pub authority: String,
    /// The status of the answer, once that has begun.
    pub status: Option<u16>,
    /// Since its first byte, where that was seen.
    pub seconds: Option<f64>,
    /// Whether the answer is a stream.
    pub is_stream: bool,
}

impl Row {
    /// Shows a connection between these ends, but for what only its protocol says.
    pub fn new(
        flow: &Flow<'_>,
        connection: &Connection,
        (local, remote): (String, String),
        now_ns: u64,
    ) -> Self {
        let (process, pid, container) = flow.identity.map_or_else(
            || (crate::process::NOBODY.to_owned(), 0, String::new()),
            |identity| (identity.name.clone(), identity.pid, identity.container.clone()),
        );
        let [sent, received, sent_messages, received_messages] = flow.rates;
        Self {
            process,
            pid,
            container,
            role: labels::role(Role::from_u8(connection.role)).to_owned(),
            protocol: flow.protocol.label().to_owned(),
            local,
            remote,
            client: address::client(connection.client, connection.client_port),
            netns: connection.netns,
            bytes_per_second: PerDirection::new([sent, received]),
            messages_per_second: PerDirection::new([sent_messages, received_messages]),
            bytes: PerDirection::new(connections::bytes(connection)),
            messages: PerDirection::new(messages_of(connection)),
            age_seconds: now_ns.saturating_sub(connection.seen_ns) as f64 / 1e9,
            rtt_seconds: (connection.rtt_us > 0).then(|| f64::from(connection.rtt_us) / 1e6),
            retransmits: connection.retransmits,
            http: None,
        }
    }
}

/// What flows are ordered by, the greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Bytes a second both ways, then bytes in all.
    #[default]
    Bytes,
    /// WebSocket data messages a second both ways, then in all.
    Messages,
    /// How long they have been known.
    Age,
    /// TCP's smoothed round-trip time.
    Rtt,
    /// TCP segments sent again.
    Retransmits,
    /// Requests of HTTP so far.
    Requests,
    /// How long the oldest request of HTTP has not been over.
    Waiting,
}

impl Sort {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("bytes", Self::Bytes),
        ("messages", Self::Messages),
        ("age", Self::Age),
        ("rtt", Self::Rtt),
        ("retransmits", Self::Retransmits),
        ("requests", Self::Requests),
        ("waiting", Self::Waiting),
    ];

    /// What it is asked for by.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|&(_, sort)| sort == self).map_or("", |(name, _)| name)
    }

    /// What a flow is ordered by: the first number, then the second.
    pub fn key(self, flow: &Flow<'_>, connection: &Connection) -> Key {
        let [sent, received, sent_messages, received_messages] = flow.rates;
        let (first, second) = match self {
            Self::Bytes => (sent + received, connections::bytes(connection).iter().sum::<u64>()),
            Self::Messages => (sent_messages + received_messages, messages_of(connection).into_iter().sum()),
            // The youngest has the greatest time.
            Self::Age => (0.0, u64::MAX - connection.seen_ns),
            Self::Rtt => (0.0, u64::from(connection.rtt_us)),
            Self::Retransmits => (0.0, u64::from(connection.retransmits)),
            Self::Requests if flow.protocol == Protocol::Http => (0.0, connection.http().asked.into()),
            Self::Waiting if flow.protocol == Protocol::Http => {
                (0.0, connection.http().waiting_since_ns().map_or(0, |start_ns| u64::MAX - start_ns))
            }
            Self::Requests | Self::Waiting => (0.0, 0),
        };
        Key { first, second, id: connection.id }
    }
}

/// A place in an order.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    first: f64,
    second: u64,
    /// The connection's, so that an order is always the same.
    id: u64,
}

impl Key {
    /// The greatest comes first; of equals, the oldest.
    pub fn order(&self, other: &Self) -> Ordering {
        let by_numbers = other.first.total_cmp(&self.first).then(other.second.cmp(&self.second));
        by_numbers.then(self.id.cmp(&other.id))
    }
}

/// Which flows are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// At most so many; `None` for all.
    pub limit: Option<usize>,
    /// The order of the flows.
    pub sort: Sort,
    /// Only of processes of this name.
    pub process: Option<String>,
    /// Only those that speak this.
    pub protocol: Option<Protocol>,
    /// Only those with this port at either end.
    pub port: Option<u16>,
}

/// A part of a query that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A value that is none of those that there are.
    #[error("{name}={value}: not {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// Its value as given.
        value: String,
        /// What it might be.
        expected: String,
    },
    /// A name that nothing here has.
    #[error("{0}: there is no such parameter; there are limit, sort, process, protocol and port")]
    Name(String),
}

impl Query {
    /// Reads a query's names and values.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, QueryError> {
        let mut query = Self::default();
        for (name, value) in pairs {
            let wrong = |name, expected: &str| {
                let (value, expected) = (value.clone(), expected.to_owned());
                QueryError::Value { name, value, expected }
            };
            match name.as_str() {
                "limit" => {
                    query.limit = Some(value.parse().map_err(|_| wrong("limit", "a number of flows"))?);
                }
                "sort" => {
                    let sort = Sort::ALL.into_iter().find(|(name, _)| name == value);
                    let names = Sort::ALL.map(|(name, _)| name).join(", ");
                    query.sort = sort.ok_or_else(|| wrong("sort", &format!("one of {names}")))?.1;
                }
                "process" => query.process = Some(value.clone()),
                "protocol" => {
                    let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.label() == value);
                    let names = Protocol::ALL.map(Protocol::label).join(", ");
                    let wrong = || wrong("protocol", &format!("one of {names}"));
                    query.protocol = Some(protocol.ok_or_else(wrong)?);
                }
                "port" => query.port = Some(value.parse().map_err(|_| wrong("port", "a port"))?),
                _ => return Err(QueryError::Name(name.clone())),
            }
        }
        Ok(query)
    }

    /// Whether a flow is asked for.
    pub fn wants(&self, flow: &Flow<'_>, connection: &Connection) -> bool {
        let process = || flow.identity.map_or(crate::process::NOBODY, |identity| &identity.name);
        let ports = [connection.local_port, connection.remote_port];
        self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && self.port.is_none_or(|port| ports.contains(&port))
            && self.process.as_deref().is_none_or(|name| name == process())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use observer_ebpf::layout::Protocol;
    use observer_ebpf::layout::connection::Connection;

    use super::{Query, Row, Sort};
    use crate::ledger::Flow;
    use crate::process::Identity;

    fn query(text: &str) -> Result<Query, String> {
        let pairs: Vec<(String, String)> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Query::parse(&pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn a_query_is_read_or_what_is_wrong_with_it_is_named() {
        let read = query("limit=7&sort=rtt&process=a b&protocol=redis&port=6379");
        let expected = Query {
            limit: Some(7),
            sort: Sort::Rtt,
            process: Some("a b".to_owned()),
            protocol: Some(Protocol::Redis),
            port: Some(6379),
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(query(""), Ok(Query::default()));
        for wrong in ["limit=-1", "sort=size", "protocol=smtp", "port=65536", "colour=red"] {
            let error = query(wrong).expect_err(wrong);
            assert!(error.starts_with(wrong.trim_end_matches("=red")), "{error}");
        }
        let said = query("sort=size").expect_err("wrong");
        assert!(said.contains("bytes, messages, age, rtt, retransmits, requests, waiting"), "{said}");
    }

    #[test]
    fn flows_are_picked_and_ordered() {
        let identity = |name: &str| {
            let (name, container) = (name.to_owned(), String::new());
            Rc::new(Identity { name, container, pid: 1, start_ns: 1 })
        };
        // SAFETY: the layout is of integers only, of which all may be zero.
        let blank: Connection = unsafe { std::mem::zeroed() };
        let one = Connection { id: 1, seen_ns: 5, rtt_us: 9, bytes: [10, 0], local_port: 80, ..blank };
        let other =
            Connection { id: 2, seen_ns: 4, retransmits: 1, bytes: [9, 0], tcp_bytes: [30, 0], ..blank };
        let (mut one, mut other) = (one, other);
        (one.protocol, other.protocol) = (Protocol::Http as u8, Protocol::Http as u8);
        one.details.http_mut().asked = 9;
        one.details.http_mut().answered = 9;
        other.details.http_mut().asked = 5;
        other.details.http_mut().current.start_ns = 7;
        let (first, second) = (identity("first"), identity("second"));
        let flow = |identity, rates| Flow { protocol: Protocol::Http, identity: Some(identity), rates };
        let flows = [(flow(&first, [1.0, 0.0, 0.0, 0.5]), one), (flow(&second, [0.0, 1.0, 0.0, 0.0]), other)];
        let order = |sort: Sort| {
            let [one, other] = flows.each_ref().map(|(flow, connection)| sort.key(flow, connection));
            if one.order(&other).is_le() { 1 } else { 2 }
        };
        let orders = Sort::ALL.map(|(_, sort)| order(sort));
        let said = "bytes in all, messages a second, age, rtt, retransmits, requests, and who waits";
        assert_eq!(orders, [2, 1, 2, 1, 2, 1, 2], "{said}");
        let wanted = |text: &str| {
            let query = query(text).expect("it is right");
            flows.each_ref().map(|(flow, connection)| query.wants(flow, connection))
        };
        assert_eq!(wanted("process=first"), [true, false]);
        assert_eq!(wanted("port=80"), [true, false]);
        assert_eq!(wanted("protocol=http"), [true, true]);
        assert_eq!(wanted("protocol=tls&process=first"), [false, false]);
        let row = Row::new(&flows[1].0, &flows[1].1, (String::new(), String::new()), 1_000_000_004);
        assert_eq!((row.bytes.sent, row.rtt_seconds, row.age_seconds), (30, None, 1.0));
        assert_eq!(row.client, "");
    }
}
