//! Sessions that were recorded with real servers, replayed over sockets.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use kafka_protocol::messages::{FetchResponse, ProduceRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, HeaderVersion as _};
use kafka_protocol::records::RecordBatchDecoder;
use memcache_proto::{Command, Response};
use observer_tests::agent::Agent;
use observer_tests::ends::Ends;
use observer_tests::metrics::Metrics;
use redis::{Parser, Value};

use crate::library::Sessions;

#[path = "../../../../observer-ebpf/tests/common/recording.rs"]
mod recording;

macro_rules! recordings {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../../observer-ebpf/tests/recorded/", $name, ".txt")))),*]
    };
}

/// Those in which each command has one reply.
const REDIS: [(&str, &str); 4] = recordings!["redis-basic", "redis-pipeline", "redis-errors", "redis-info"];
const MEMCACHED: [(&str, &str); 1] = recordings!["memcached-basic"];
/// Of producers and of consumers, with topics by name and by id.
const KAFKA: [(&str, &str); 4] = recordings![
    "kafka-librdkafka-produce",
    "kafka-librdkafka-consume",
    "kafka-aiokafka-produce",
    "kafka-aiokafka-consume"
];
/// Those that get as far as a query.
const POSTGRES: [(&str, &str); 6] =
    recordings!["simple", "password", "copy", "pgbench-extended", "pgbench-prepared", "pgbench-pipeline"];

/// Of OpenSSL with itself.
const TLS: [(&str, &str); 2] = recordings!["tls-1.2", "tls-1.3"];

/// A session, replayed: all that the client said, and all that the server did.
struct Replayed {
    client: Vec<u8>,
    server: Vec<u8>,
    /// The server, as the agent calls it.
    label: String,
    ends: Ends,
}

/// How a session goes over its connection.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// As it was.
    Clear,
    /// Through a library, in records.
    Library,
}

impl Replayed {
    fn new(text: &str, way: Way) -> anyhow::Result<Self> {
        let mut replayed =
            Self { client: Vec::new(), server: Vec::new(), label: String::new(), ends: Ends::connect()? };
        let sessions = match way {
            Way::Clear => None,
            Way::Library => {
                let is_handshake = |(_, bytes): &(bool, Vec<u8>)| bytes.first() != Some(&23);
                let flights: Vec<_> = recording::calls(TLS[0].1).take_while(is_handshake).collect();
                Some(Sessions::greet(&replayed.ends, &flights)?)
            }
        };
        for (is_server, bytes) in recording::calls(text) {
            match (&sessions, is_server) {
                (Some(sessions), is_server) => sessions.pass(is_server, &bytes)?,
                (None, true) => replayed.ends.answer(&bytes)?,
                (None, false) => replayed.ends.ask(&bytes)?,
            }
            if is_server { replayed.server.extend(bytes) } else { replayed.client.extend(bytes) }
        }
        replayed.label.clone_from(&replayed.ends.label);
        Ok(replayed)
    }

    /// What both sides must show of it, by family and label.
    fn expect(&self, agent: &Agent, expected: &[(&str, [&str; 2], f64)]) -> anyhow::Result<()> {
        let shown = |metrics: &Metrics, role: &str, (family, [key, value], _): &(&str, [&str; 2], f64)| {
            let labels = [("server", self.label.as_str()), ("role", role), (*key, *value)];
            metrics.sum(family, if key.is_empty() { &labels[..2] } else { &labels })
        };
        let differences = |metrics: &Metrics| -> Vec<String> {
            let pairs =
                ["client", "server"].into_iter().flat_map(|role| expected.iter().map(move |one| (role, one)));
            let wrong = pairs.filter(|(role, one)| shown(metrics, role, one) != one.2);
            wrong.map(|(role, one)| format!("{role}: {one:?}, not {}", shown(metrics, role, one))).collect()
        };
        let outcome = agent.wait_until("what passed", |metrics| differences(metrics).is_empty());
        let wrong = differences(&agent.scrape()?);
        ensure!(wrong.is_empty() && outcome.is_ok(), "{}", wrong.join("; "));
        Ok(())
    }
}

/// Replays sessions of TLS: handshakes, and bytes of application records as another reading of these has them.
pub(crate) fn tls(agent: &Agent) -> anyhow::Result<()> {
    let shown = |metrics: &Metrics, role: &str| metrics.sum("observer_tls_bytes_total", &[("role", role)]);
    let before = agent.scrape()?;
    let mut bytes = 0.0;
    for (_, text) in TLS {
        let session = Replayed::new(text, Way::Clear)?;
        for stream in [&session.client, &session.server] {
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (behind, record) =
                    tls_parser::parse_tls_raw_record(rest).map_err(|error| anyhow!("{error}"))?;
                let is_application = record.hdr.record_type == tls_parser::TlsRecordType::ApplicationData;
                bytes += if is_application { f64::from(record.hdr.len) } else { 0.0 };
                rest = behind;
            }
        }
        session.expect(agent, &[("observer_tls_handshake_seconds_count", ["", ""], 1.0)])?;
    }
    let metrics = agent.scrape()?;
    for role in ["client", "server"] {
        let more = shown(&metrics, role) - shown(&before, role);
        ensure!(more == bytes, "{more} bytes and not {bytes} as {role}");
    }
    Ok(())
}

/// Replays sessions with Redis: commands, keys found and not found, and errors are as the client library's
/// parser reads them.
pub(crate) fn redis(agent: &Agent, way: Way) -> anyhow::Result<()> {
    for (name, text) in REDIS {
        let session = Replayed::new(text, way)?;
        let (commands, replies) = (values(&session.client)?, values(&session.server)?);
        ensure!(commands.len() == replies.len(), "{name}: not one reply to each command");
        let (mut gets, mut sets, mut hits, mut misses) = (0, 0, 0, 0);
        for (command, reply) in commands.iter().zip(&replies) {
            let Value::Array(words) = command else { continue };
            let Some(Value::BulkString(verb)) = words.first() else { continue };
            let verb = verb.to_ascii_uppercase();
            gets += u32::from(verb == b"GET");
            sets += u32::from(verb == b"SET");
            let found = match (verb.as_slice(), reply) {
                (b"MGET", Value::Array(found)) => found.iter().map(|one| *one != Value::Nil).collect(),
                (b"EXISTS", Value::Int(count)) => {
                    (1..words.len()).map(|key| key <= usize::try_from(*count).unwrap_or(0)).collect()
                }
                (b"GET" | b"HGET" | b"GETEX" | b"GETDEL", Value::Nil) => vec![false],
                (b"GET" | b"HGET" | b"GETEX" | b"GETDEL", Value::BulkString(_)) => vec![true],
                _ => Vec::new(),
            };
            hits += found.iter().filter(|found| **found).count();
            misses += found.iter().filter(|found| !**found).count();
        }
        let errors = replies.iter().filter(|reply| matches!(reply, Value::ServerError(_))).count();
        let any = ["", ""];
        session
            .expect(
                agent,
                &[
                    ("observer_redis_commands_total", any, commands.len() as f64),
                    ("observer_redis_commands_total", ["command", "get"], f64::from(gets)),
                    ("observer_redis_commands_total", ["command", "set"], f64::from(sets)),
                    ("redis_cache_hits_total", any, hits as f64),
                    ("redis_cache_misses_total", any, misses as f64),
                    ("observer_redis_errors_total", any, errors as f64),
                ],
            )
            .with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// All values in a stream.
fn values(mut stream: &[u8]) -> anyhow::Result<Vec<Value>> {
    // It reads ahead, and keeps what it has read.
    let mut parser = Parser::new();
    let mut all = Vec::new();
    loop {
        match parser.parse_value(&mut stream) {
            Ok(value) => all.push(value),
            Err(_) if stream.is_empty() => return Ok(all),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Replays sessions with memcached: commands, and keys found and not found, are as another parser of both sides reads
/// them.
pub(crate) fn memcached(agent: &Agent) -> anyhow::Result<()> {
    for (name, text) in MEMCACHED {
        let session = Replayed::new(text, Way::Clear)?;
        let (mut asked, mut answered) = (&session.client[..], &session.server[..]);
        let (mut commands, mut sets, mut hits, mut misses) = (0, 0, 0, 0);
        while !asked.is_empty() {
            let (command, command_length) =
                Command::parse(asked).map_err(|error| anyhow!("{name}: {error}"))?;
            let (reply, reply_length) =
                Response::parse(answered).map_err(|error| anyhow!("{name}: {error}"))?;
            commands += 1;
            sets += u32::from(matches!(command, Command::Set { .. }));
            let keys = match command {
                Command::Get { .. } => 1,
                Command::Gets { keys } => keys.len(),
                _ => 0,
            };
            let found = if let Response::Values(values) = reply { values.len() } else { 0 };
            hits += found;
            misses += keys - found;
            (asked, answered) = (&asked[command_length..], &answered[reply_length..]);
        }
        let any = ["", ""];
        session
            .expect(
                agent,
                &[
                    ("observer_memcached_commands_total", any, f64::from(commands)),
                    ("observer_memcached_commands_total", ["command", "set"], f64::from(sets)),
                    ("observer_memcached_hits_total", any, hits as f64),
                    ("observer_memcached_misses_total", any, misses as f64),
                    ("observer_memcached_seconds_count", ["command", "set"], f64::from(sets)),
                ],
            )
            .with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Replays sessions with Kafka: requests are as their API keys tell, and messages as another parser of both sides reads
/// them.
pub(crate) fn kafka(agent: &Agent) -> anyhow::Result<()> {
    for (name, text) in KAFKA {
        let session = Replayed::new(text, Way::Clear)?;
        let (mut requests, mut put, mut taken) = (BTreeMap::<i16, u32>::new(), 0, 0);
        let mut in_flight = VecDeque::new();
        for mut message in messages(&session.client)? {
            let header = message.get(..4).context("a request is cut off")?;
            let [key, version] = [[header[0], header[1]], [header[2], header[3]]].map(i16::from_be_bytes);
            *requests.entry(key).or_default() += 1;
            in_flight.push_back((key, version));
            if key == PRODUCE {
                RequestHeader::decode(&mut message, ProduceRequest::header_version(version))?;
                let topics = ProduceRequest::decode(&mut message, version)?.topic_data;
                for partition in topics.into_iter().flat_map(|topic| topic.partition_data) {
                    put += records(partition.records)?;
                }
            }
        }
        for mut message in messages(&session.server)? {
            let (key, version) = in_flight.pop_front().context("a response to nothing")?;
            if key == FETCH {
                ResponseHeader::decode(&mut message, FetchResponse::header_version(version))?;
                let topics = FetchResponse::decode(&mut message, version)?.responses;
                for partition in topics.into_iter().flat_map(|topic| topic.partitions) {
                    taken += records(partition.records)?;
                }
            }
        }
        ensure!(put + taken == 30, "{name}: {put} put and {taken} taken");
        let of = |key: i16| f64::from(requests.get(&key).copied().unwrap_or(0));
        let total: u32 = requests.values().sum();
        session
            .expect(
                agent,
                &[
                    ("observer_kafka_requests_total", ["", ""], f64::from(total)),
                    ("observer_kafka_requests_total", ["api", "produce"], of(PRODUCE)),
                    ("observer_kafka_requests_total", ["api", "fetch"], of(FETCH)),
                    ("observer_kafka_requests_total", ["api", "metadata"], of(METADATA)),
                    ("observer_kafka_unmatched_responses_total", ["", ""], 0.0),
                    ("observer_kafka_unparsed_total", ["", ""], 0.0),
                    ("observer_queue_messages_total", ["system", "kafka"], f64::from(put + taken)),
                    ("observer_queue_messages_total", ["operation", "put"], f64::from(put)),
                    ("observer_queue_messages_total", ["operation", "take"], f64::from(taken)),
                ],
            )
            .with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// The API keys of some of Kafka's requests.
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;

/// All messages of Kafka in a stream, without their sizes.
fn messages(mut stream: &[u8]) -> anyhow::Result<Vec<Bytes>> {
    let mut all = Vec::new();
    while let Some((size, behind)) = stream.split_first_chunk() {
        let (message, rest) =
            behind.split_at_checked(u32::from_be_bytes(*size) as usize).context("a message is cut off")?;
        all.push(Bytes::copy_from_slice(message));
        stream = rest;
    }
    ensure!(stream.is_empty(), "a size is cut off");
    Ok(all)
}

/// How many messages record batches have, by their headers.
fn records(batches: Option<Bytes>) -> anyhow::Result<u32> {
    let Some(mut batches) = batches.filter(|batches| !batches.is_empty()) else { return Ok(0) };
    let counts = RecordBatchDecoder::decode_batch_info(&mut batches)?;
    counts.into_iter().map(|batch| Ok(u32::try_from(batch.record_count)?)).sum()
}

/// Replays sessions with Postgres: sessions, queries and errors are as the messages' types tell.
pub(crate) fn postgres(agent: &Agent, way: Way) -> anyhow::Result<()> {
    for (name, text) in POSTGRES {
        let session = Replayed::new(text, way)?;
        // The client's first message has no type.
        let start = session.client.get(..4).and_then(|length| length.try_into().ok()).context("no start")?;
        let asked = types(session.client.get(u32::from_be_bytes(start) as usize..).context("no start")?)?;
        let errors = types(&session.server)?.into_iter().filter(|&kind| kind == b'E').count();
        session
            .expect(
                agent,
                &[
                    ("db_connection_acquire_seconds_count", ["", ""], 1.0),
                    ("db_query_duration_seconds_count", ["", ""], f64::from(queries(&asked))),
                    ("observer_db_errors_total", ["", ""], errors as f64),
                ],
            )
            .with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Queries among a client's messages: queries, function calls, and what is executed up to a sync.
fn queries(types: &[u8]) -> u32 {
    let mut executed = 0;
    let mut count = 0;
    for kind in types {
        match kind {
            b'Q' | b'F' => count += 1,
            b'E' => executed = 1,
            b'S' => count += std::mem::take(&mut executed),
            _ => {}
        }
    }
    count
}

/// The types of all messages in a stream.
fn types(mut stream: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let [kind, a, b, c, d, ..] = *stream {
        all.push(kind);
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        stream = stream.get(1 + length..).context("a message is cut off")?;
    }
    Ok(all)
}
