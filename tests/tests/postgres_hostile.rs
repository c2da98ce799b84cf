//! What no server and no client should send: no wrong state lasts, and everybody else is counted as before.

// needs: postgres
// takes: 48 s

use std::net::Shutdown;

use anyhow::Context as _;
use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::noise::{Chance, throw};
use observer_tests::postgres::clients::{Clients, Library, State, sessions};
use observer_tests::postgres::server::Server;
use observer_tests::postgres::shown::{Queries, Sessions, View, desyncs, queries, shared};
use observer_tests::postgres::wire::{
    Ends, complete, error, header, message, query, ready, row, startup, welcome,
};
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, own_name};

const IDLE: Sessions = Sessions { active: 0.0, idle: 1.0, in_transaction: 0.0, waiting: 0.0 };
const ACTIVE: Sessions = Sessions { active: 1.0, idle: 0.0, ..IDLE };
const IN_TRANSACTION: Sessions = Sessions { in_transaction: 1.0, idle: 0.0, ..IDLE };
const WAITING: Sessions = Sessions { waiting: 1.0, idle: 0.0, ..IDLE };
const NONE: Sessions = Sessions { idle: 0.0, ..IDLE };

/// Sessions that keep the rules all the while.
struct Bystanders {
    server: Server,
    clients: Clients,
    asked: u32,
}

const MIX: [(State, usize); 4] =
    [(State::Idle, 2), (State::Active, 2), (State::InTransaction, 2), (State::Failed, 2)];

impl Bystanders {
    fn start() -> anyhow::Result<Self> {
        let server = Server::start()?;
        let mut clients = Clients::start(Library::Psycopg, &server.tcp())?;
        clients.login(8)?;
        clients.put(&MIX)?;
        Ok(Self { server, clients, asked: 0 })
    }

    /// A few more queries, and everything is as it should be.
    fn check(&mut self, agent: &Agent) -> anyhow::Result<()> {
        self.clients.puppet()?.run("run(0, 'SELECT 1', 7)")?;
        self.asked += 7;
        self.server.reach(sessions(&MIX))?;
        let label = self.server.tcp().label();
        let client = View::client(&self.clients.process, &label);
        let asked = f64::from(self.asked);
        let selects = |view: &View, metrics: &Metrics| {
            view.queries(metrics).get("select").copied().unwrap_or_default() - 6.0
        };
        client.expect(agent, &asked, selects)?;
        client.expect(agent, &sessions(&MIX), View::sessions)?;
        View::server("postgres", &label).expect(agent, &sessions(&MIX), View::sessions)?;
        agent.get("/healthz")?;
        agent.get("/readyz")?;
        agent.json("/status")?;
        Ok(())
    }
}

/// The two ends of one session, as the agent sees them.
fn views(ends: &Ends) -> anyhow::Result<[View; 2]> {
    let name = own_name()?;
    Ok([View::client(&name, &ends.label), View::server(&name, &ends.label)])
}

fn expect(agent: &Agent, ends: &Ends, states: Sessions) -> anyhow::Result<()> {
    expect_each(&views(ends)?, agent, &states, View::sessions)
}

fn expect_queries(agent: &Agent, ends: &Ends, expected: &Queries) -> anyhow::Result<()> {
    expect_each(&views(ends)?, agent, expected, View::queries)
}

/// A few queries that keep the rules, each in calls of its own.
fn behave(ends: &mut Ends) -> anyhow::Result<()> {
    for _ in 0..5 {
        ends.ask(&query("SELECT 1"))?;
        ends.answer(&[row(b"1"), complete("SELECT 1"), ready(b'I')].concat())?;
    }
    Ok(())
}

#[test]
fn a_session_by_hand() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut ends = Ends::connect()?;
    ends.ask(&startup())?;
    expect(&agent, &ends, WAITING)?;
    ends.answer(&welcome())?;
    expect(&agent, &ends, IDLE)?;
    ends.ask(&query("BEGIN"))?;
    expect(&agent, &ends, ACTIVE)?;
    ends.answer(&[complete("BEGIN"), ready(b'T')].concat())?;
    expect(&agent, &ends, IN_TRANSACTION)?;
    ends.ask(&query("SELECT absent"))?;
    ends.answer(&[error("42703"), ready(b'E')].concat())?;
    expect(&agent, &ends, IN_TRANSACTION)?;
    ends.ask(&query("ROLLBACK"))?;
    ends.answer(&[complete("ROLLBACK"), ready(b'I')].concat())?;
    expect(&agent, &ends, IDLE)?;
    behave(&mut ends)?;
    expect_queries(&agent, &ends, &queries(&[("select", 6), ("other", 2)]))?;
    before.no_more(&agent)
}

#[test]
fn requests_for_encryption_that_are_refused() -> anyhow::Result<()> {
    const TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];
    const GSSAPI: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x30];
    let _alone = alone();
    let (agent, before) = shared()?;
    for requests in [vec![TLS], vec![GSSAPI], vec![GSSAPI, TLS]] {
        let mut ends = Ends::connect()?;
        for request in requests {
            ends.ask(&request)?;
            expect(&agent, &ends, WAITING)?;
            ends.answer(b"N")?;
        }
        ends.ask(&startup())?;
        ends.answer(&welcome())?;
        behave(&mut ends)?;
        expect(&agent, &ends, IDLE)?;
        expect_queries(&agent, &ends, &queries(&[("select", 5)]))?;
    }
    for (request, answer) in [(TLS, b"S"), (GSSAPI, b"G")] {
        let mut ends = Ends::connect()?;
        ends.ask(&request)?;
        ends.answer(answer)?;
        // The start of a handshake.
        ends.ask(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03])?;
        expect(&agent, &ends, NONE)?;
        let name = own_name()?;
        agent.wait_until("both ends are encrypted", |metrics| {
            let labels = [("process", name.as_str()), ("protocol", "postgres"), ("tls", "true")];
            metrics.sum("observer_connections", &labels) == 2.0
        })?;
    }
    before.no_more(&agent)
}

#[test]
fn rows_that_look_like_the_end_of_a_query() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut bystanders = Bystanders::start()?;
    let mut ends = Ends::greet()?;
    let mut asked = 0;
    for content in [ready(b'I'), [complete("DELETE 1"), ready(b'T')].concat(), error("53300")] {
        // As one message, in calls that begin anywhere inside it.
        for piece in [1, 2, 5, 6, 7, 11, 64, 4_096] {
            let count = if piece < 64 { 20 } else { 3_000 };
            let message = row(&content.repeat(count));
            ends.ask(&query("SELECT 1"))?;
            for part in message.chunks(piece) {
                ends.answer(part)?;
            }
            asked += 1;
            if piece % 2 == 0 {
                expect(&agent, &ends, ACTIVE)?;
            }
            ends.answer(&[complete("SELECT 1"), ready(b'I')].concat())?;
        }
        // As many small ones in one call.
        ends.ask(&query("SELECT 1"))?;
        ends.answer(&row(&content).repeat(500))?;
        expect(&agent, &ends, ACTIVE)?;
        ends.answer(&[complete("SELECT 500"), ready(b'T')].concat())?;
        expect(&agent, &ends, IN_TRANSACTION)?;
        asked += 1;
    }
    expect_queries(&agent, &ends, &queries(&[("select", asked)]))?;
    for view in views(&ends)? {
        view.expect(&agent, &0.0, View::all_errors)?;
    }
    bystanders.check(&agent)?;
    before.no_more(&agent)
}

#[test]
fn requests_that_look_like_others() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut ends = Ends::greet()?;
    // Data of a COPY that looks like queries, and like the end of the session.
    ends.ask(&query("COPY told FROM STDIN"))?;
    ends.answer(&message(b'G', &[0, 0, 0]))?;
    let content = [query("DELETE FROM told"), message(b'X', b""), message(b'S', b"")].concat();
    for piece in [3, 17, 20_000] {
        for part in message(b'd', &content.repeat(50)).chunks(piece) {
            ends.ask(part)?;
        }
    }
    expect(&agent, &ends, ACTIVE)?;
    ends.ask(&message(b'c', b""))?;
    ends.answer(&[complete("COPY 1"), ready(b'I')].concat())?;
    expect(&agent, &ends, IDLE)?;
    expect_queries(&agent, &ends, &queries(&[("other", 1)]))?;
    // A statement of which every call has but a byte.
    for byte in query("/* delete */ update told set n = 1") {
        ends.ask(&[byte])?;
    }
    for byte in [complete("UPDATE 1"), ready(b'I')].concat() {
        ends.answer(&[byte])?;
    }
    expect(&agent, &ends, IDLE)?;
    expect_queries(&agent, &ends, &queries(&[("other", 1), ("update", 1)]))?;
    before.no_more(&agent)
}

#[test]
fn lengths_that_cannot_be() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    for length in [0, 1, 3, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
        for kind in [b'D', b'T', b'Z', b'C', b'E', b'N', b'S'] {
            let before = desyncs(&agent.scrape()?);
            let mut ends = Ends::greet()?;
            ends.ask(&query("SELECT 1"))?;
            ends.answer(&[header(kind, length), vec![0; 30]].concat())?;
            let what = format!("a desync is counted: {} with a length of {length}", char::from(kind));
            agent.wait_until(&what, |metrics| desyncs(metrics) > before)?;
            behave(&mut ends)?;
            expect(&agent, &ends, IDLE).context(what)?;
            ends.client.shutdown(Shutdown::Both)?;
            let label = ends.label.clone();
            drop(ends);
            View::client(&own_name()?, &label).expect(&agent, &NONE, View::sessions)?;
        }
    }
    for length in [0, 1, 3, 0x7FFF_FFFF, u32::MAX] {
        for kind in [b'Q', b'P', b'B', b'E', b'S', b'd', b'X'] {
            let before = desyncs(&agent.scrape()?);
            let mut ends = Ends::greet()?;
            ends.ask(&[header(kind, length), vec![0; 30]].concat())?;
            let what = format!("a desync is counted: {} with a length of {length}", char::from(kind));
            agent.wait_until(&what, |metrics| desyncs(metrics) > before)?;
            ends.answer(&[error("08P01"), ready(b'I')].concat())?;
            behave(&mut ends)?;
            expect(&agent, &ends, IDLE).context(what)?;
        }
    }
    bystanders.check(&agent)
}

#[test]
fn messages_of_no_known_type() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    for kind in [0, b'!', b'O', b'q', 0x80, 0xFF] {
        let mut ends = Ends::greet()?;
        ends.ask(&query("SELECT 1"))?;
        ends.answer(&message(kind, b"what may this be?"))?;
        ends.answer(&[complete("SELECT 1"), ready(b'I')].concat())?;
        behave(&mut ends)?;
        expect(&agent, &ends, IDLE).with_context(|| format!("from a server: {kind}"))?;
        let mut ends = Ends::greet()?;
        ends.ask(&message(kind, b"what may this be?"))?;
        ends.answer(&[error("08P01"), ready(b'I')].concat())?;
        behave(&mut ends)?;
        expect(&agent, &ends, IDLE).with_context(|| format!("from a client: {kind}"))?;
    }
    // A state that there is not.
    let mut ends = Ends::greet()?;
    ends.ask(&query("SELECT 1"))?;
    ends.answer(&ready(b'?'))?;
    behave(&mut ends)?;
    expect(&agent, &ends, IDLE)?;
    bystanders.check(&agent)
}

#[test]
fn a_server_that_leaves_in_the_middle_of_a_row() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut bystanders = Bystanders::start()?;
    for sent in [1, 4, 5, 8, 1_000, 90_000] {
        let mut ends = Ends::greet()?;
        ends.ask(&query("SELECT 1"))?;
        let message = row(&vec![b'Z'; 100_000]);
        ends.answer(&message[..sent])?;
        expect(&agent, &ends, ACTIVE)?;
        let both = views(&ends)?;
        drop(ends);
        for view in both {
            view.expect(&agent, &NONE, View::sessions)?;
            // What did not end is no query.
            view.expect(&agent, &Queries::new(), View::queries)?;
        }
    }
    // Before anybody was authenticated.
    let mut ends = Ends::connect()?;
    ends.ask(&startup())?;
    ends.answer(&message(b'R', &[0, 0, 0, 3])[..6])?;
    let both = views(&ends)?;
    drop(ends);
    for view in both {
        view.expect(&agent, &NONE, View::sessions)?;
        view.expect(&agent, &0.0, View::acquired)?;
    }
    bystanders.check(&agent)?;
    before.no_more(&agent)
}

#[test]
fn a_server_that_answers_what_nobody_asked() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    let mut ends = Ends::greet()?;
    for _ in 0..50 {
        ends.answer(&ready(b'I'))?;
    }
    expect(&agent, &ends, IDLE)?;
    ends.answer(&[ready(b'T'), complete("INSERT 0 1"), ready(b'I'), row(b"1"), ready(b'E')].concat())?;
    expect(&agent, &ends, IN_TRANSACTION)?;
    behave(&mut ends)?;
    expect(&agent, &ends, IDLE)?;
    bystanders.check(&agent)
}

#[test]
fn beginnings_that_lead_nowhere() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    let beginnings: [&[u8]; 7] = [
        &[0; 8],
        &[0xFF; 100],
        &[0, 0, 0, 4],
        &[0, 0, 0, 7, 0, 3, 0],
        &[0, 0, 0, 8, 0, 3, 0, 0],
        &[0, 0, 0, 9, 0, 2, 0, 0, 0],
        &[0x7F, 0xFF, 0xFF, 0xFF, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0],
    ];
    for beginning in beginnings {
        let mut ends = Ends::connect()?;
        ends.ask(beginning)?;
        ends.answer(&error("08P01"))?;
        let both = views(&ends)?;
        drop(ends);
        for view in both {
            view.expect(&agent, &NONE, View::sessions).with_context(|| format!("{beginning:?}"))?;
            view.expect(&agent, &0.0, View::acquired)?;
        }
    }
    bystanders.check(&agent)
}

#[test]
fn a_real_server_is_thrown_noise() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    let mut start = 0x0003_0000_u32.to_be_bytes().to_vec();
    start.extend(b"user\0postgres\0database\0postgres\0\0");
    let start = [(start.len() as u32 + 4).to_be_bytes().to_vec(), start].concat();
    let server = bystanders.server.tcp().label();
    let mut chance = Chance::new(0);
    for length in [1, 4, 5, 8, 100, 9_000, 100_000] {
        for _ in 0..5 {
            let bytes = chance.bytes(length);
            throw(&server, &[&bytes])?;
            throw(&server, &[&start, &bytes])?;
            throw(&server, &[&start, &query("SELECT 1"), &bytes])?;
            throw(&server, &[&start, &query("BEGIN"), &header(b'Q', length as u32), &bytes])?;
            throw(&server, &[&start[..length.min(start.len())]])?;
        }
    }
    bystanders.check(&agent)?;
    let own = View::client(&own_name()?, &bystanders.server.tcp().label());
    own.expect(&agent, &NONE, View::sessions)
}
