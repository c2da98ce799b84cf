//! The agent: collects from the maps, and answers from what it has collected.

mod bury;
mod names;
mod shown;

pub use shown::Status;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use observer_ebpf::layout::connection::{AF_UNIX, Connection, Owner, Phase, UnixPath};
use observer_ebpf::layout::event;
use observer_ebpf::layout::losses::Losses;
use observer_ebpf::layout::{Direction, Role};

use crate::address;
use crate::config::{Config, Reading};
use crate::events::{self, Event, Events, HighRate, Oversized, Subject};
use crate::flows::{Query, Row};
use crate::kernel::bpf_iter::BpfIter;
use crate::labels::{self, Group};
use crate::ledger::{Ledger, View};
use crate::metrics::agent::{COLLECT_BOUNDS, Facts};
use crate::metrics::encode::{Format, encode};
use crate::metrics::fold::Folder;
use crate::metrics::{self, Everything};
use crate::probes::Probes;
use crate::process::Processes;
use crate::protocols::redis::ask::Answer;
use crate::protocols::redis::info::{self, InfoPoll};
use crate::protocols::tls::Encrypted;
use crate::protocols::websocket::{self, minute::Excess};
use crate::web::Counts;

/// The least time between two passes over all sockets: one in vain costs nothing then.
const PASS_EVERY: Duration = Duration::from_millis(250);
/// Passes that a socket must have been missed in to be gone: it may have come to be during one.
const PASSES_MISSED: u32 = 2;
/// How often sockets are looked for that nothing announces: idle UNIX connections, and accepted ones that
/// nobody has used.
const ADOPT_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked at which names are in use.
const NAMES_EVERY: Duration = Duration::from_secs(10);
/// The least time between two looks for the owners of connections that nobody uses, and how long one must
/// have had none: most are about to be accepted and used.
const ADOPT_SOON: Duration = Duration::from_secs(2);

/// Everything that the endpoints answer from.
#[derive(Debug)]
pub struct Agent {
    probes: Probes,
    ledger: Ledger,
    folder: Folder,
    events: Events,
    /// Slots in use. They stay so until they are handed back, and are read again where they are.
    in_use: Vec<u32>,
    messages_per_minute: u64,
    redis_polls: Vec<InfoPoll>,
    flow_series: usize,
    last_pass: Option<Instant>,
    pass: u32,
    last_adopt: Instant,
    /// When names were last looked at, to give the places of some to others.
    last_names: Instant,
    /// Connections that have had no owner for a while, and how many of them the last look left so.
    ownerless: usize,
    ownerless_left: usize,
    collects: [u64; COLLECT_BOUNDS.len() + 1],
    collect_seconds: f64,
    /// Whether it has been said that encrypted connections could be read.
    has_hinted: bool,
    /// When it was last looked at what is kept no longer.
    last_bury: Instant,
    started: Instant,
    /// The same in seconds since 1970.
    created: f64,
}

impl Agent {
    /// Takes over what was loaded, and collects once.
    pub fn new(probes: Probes, config: &Config) -> io::Result<Self> {
        let processes = Processes::new(Path::new("/proc"));
        let now_ns = events::monotonic_now_ns();
        let mut agent = Self {
            probes,
            ledger: Ledger::new(processes, config.hints(), config.limits, config.retention, now_ns),
            folder: Folder::new(config.max_series, events::wall_clock(now_ns)),
            events: Events::default(),
            in_use: Vec::new(),
            messages_per_minute: config.limits.messages_per_minute,
            redis_polls: config.redis_info.iter().map(InfoPoll::new).collect(),
            flow_series: config.flow_series,
            last_pass: None,
            pass: 0,
            last_adopt: Instant::now(),
            last_names: Instant::now(),
            ownerless: 0,
            ownerless_left: 0,
            collects: [0; COLLECT_BOUNDS.len() + 1],
            collect_seconds: 0.0,
            // Where it is read, there is nothing to be said.
            has_hinted: config.tls != Reading::Off,
            last_bury: Instant::now(),
            started: Instant::now(),
            created: events::wall_clock(now_ns),
        };
        agent.ledger.note_plaintext(agent.probes.plaintext_use());
        agent.adopt();
        agent.collect()?;
        Ok(agent)
    }

    /// Once a second: collects, samples for rates, and does what is due.
    pub fn tick(&mut self) -> io::Result<()> {
        // Those that the last look found nobody for are still in a listener's queue, most likely.
        let due = if self.ownerless > self.ownerless_left { ADOPT_SOON } else { ADOPT_EVERY };
        let looked = self.last_adopt.elapsed() >= due;
        if looked {
            self.adopt();
        }
        let looks_at_names = self.last_names.elapsed() >= NAMES_EVERY;
        self.collect_with(looks_at_names)?;
        if looks_at_names {
            self.free_names();
            self.say_once_of_tls();
        }
        self.tick_queues();
        self.ownerless_left = if looked { self.ownerless } else { self.ownerless_left.min(self.ownerless) };
        self.sample()?;
        self.bury();
        Ok(())
    }

    /// Says that encrypted connections are open of which nothing is read, once.
    fn say_once_of_tls(&mut self) {
        if self.has_hinted {
            return;
        }
        let mut encrypted = Encrypted::default();
        self.connections().for_each(|(_, connection)| encrypted.add(&connection));
        if let Some(hint) = self.ledger.tls_hint(encrypted) {
            log::info!("{hint}");
            self.has_hinted = true;
        }
    }

    /// Takes a second's sample of every connection.
    fn sample(&mut self) -> io::Result<()> {
        let now_ns = events::monotonic_now_ns();
        let mut over = Vec::new();
        for &index in &self.in_use {
            let Some(connection) = self.probes.arena.read(index)? else { continue };
            if let Some(excess) = self.ledger.tick(index, &connection, now_ns) {
                over.push((index, connection, excess));
            }
        }
        self.ledger.end_tick(now_ns);
        for (index, connection, excess) in over {
            self.note_high_rate(index, &connection, excess, now_ns);
        }
        Ok(())
    }

    /// The connections in use, as they are now.
    fn connections(&self) -> impl Iterator<Item = (u32, Connection)> {
        self.in_use.iter().filter_map(|&index| Some((index, self.connection(index)?)))
    }

    /// A connection in use, as it is now.
    fn connection(&self, index: u32) -> Option<Connection> {
        self.probes.arena.read(index).unwrap_or_else(|error| {
            log::error!("cannot read a connection: {error}");
            None
        })
    }

    /// Brings the ledger up to date with the maps, but for what is counted by name, which only a scrape needs.
    pub fn collect(&mut self) -> io::Result<()> {
        self.collect_with(false)
    }

    /// The same, with what is counted by name.
    pub fn collect_all(&mut self) -> io::Result<()> {
        self.collect_with(true)
    }

    fn collect_with(&mut self, with_names: bool) -> io::Result<()> {
        let start = Instant::now();
        let gone = self.run_pass();
        let now_ns = events::monotonic_now_ns();
        self.probes.arena.set_wall_offset(events::wall_offset_ns());
        self.drain_events();
        self.probes.hear_follower();
        self.read_slots(gone, now_ns)?;
        if with_names {
            self.collect_names();
            self.ledger.note_plaintext(self.probes.plaintext_use());
        }
        let seconds = start.elapsed().as_secs_f64();
        let bucket = COLLECT_BOUNDS.iter().filter(|&&bound| seconds > bound).count();
        self.collects[bucket] += 1;
        self.collect_seconds += seconds;
        Ok(())
    }

    /// Takes note of what a server of `--redis-info` answered, by its place among them.
    pub fn note_redis_info(&mut self, index: usize, outcome: Result<Answer, String>) {
        if let Some(poll) = self.redis_polls.get_mut(index) {
            poll.note(outcome, events::monotonic_now_ns());
        }
    }

    /// Looks for sockets that nothing announced, with their processes.
    fn adopt(&mut self) {
        self.last_adopt = Instant::now();
        if let Some(Err(error)) = self.probes.adopt.as_ref().map(BpfIter::run) {
            log::warn!("cannot look for open sockets: {error}");
        }
    }

    /// Marks every socket that is there. Returns the pass since which a socket must have been seen, if one
    /// was missed often enough to be gone.
    fn run_pass(&mut self) -> Option<u32> {
        let refresh = self.probes.refresh.as_ref()?;
        if self.last_pass.is_none_or(|last| last.elapsed() >= PASS_EVERY) {
            self.last_pass = Some(Instant::now());
            self.pass = self.probes.arena.next_pass();
            if let Err(error) = refresh.run() {
                log::warn!("cannot look at the tracked sockets: {error}");
                return None;
            }
        }
        self.pass.checked_sub(PASSES_MISSED - 1).filter(|&oldest| oldest > 0)
    }

    /// Reads all slots; those that are gone are added up and handed back.
    fn read_slots(&mut self, seen_since: Option<u32>, now_ns: u64) -> io::Result<()> {
        let mut retired = Vec::new();
        while let Some(record) = self.probes.retired.next() {
            let index = record.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_ne_bytes(*bytes));
            retired.extend(u32::try_from(index).ok());
        }
        let used = self.probes.arena.used();
        for index in retired {
            let Some(connection) = self.probes.arena.read(index)? else { continue };
            self.hand_back(index, &connection, now_ns);
        }
        self.in_use.clear();
        self.ownerless = 0;
        let mut unseen = Vec::new();
        for index in 0..used {
            let Some(connection) = self.probes.arena.read(index)? else { continue };
            if connection.phase == Phase::Free as u8 || !self.ledger.observe(index, &connection, now_ns) {
                continue;
            }
            self.name_server(index, &connection, now_ns);
            if seen_since.is_some_and(|oldest| connection.pass < oldest) {
                unseen.push((index, connection));
                continue;
            }
            let age = Duration::from_nanos(now_ns.saturating_sub(connection.seen_ns));
            self.ownerless += usize::from(connection.owner.start_ns == 0 && age >= ADOPT_SOON);
            self.in_use.push(index);
        }
        for (index, mut connection) in unseen {
            connection.phase = Phase::Closed as u8;
            self.probes.arena.untrack();
            self.hand_back(index, &connection, now_ns);
        }
        Ok(())
    }

    fn hand_back(&mut self, index: u32, connection: &Connection, now_ns: u64) {
        if self.ledger.observe(index, connection, now_ns) {
            self.name_server(index, connection, now_ns);
            self.end_requests(index, connection, now_ns);
        }
        if let Some(excess) = self.ledger.close(index, connection, now_ns) {
            self.note_high_rate(index, connection, excess, now_ns);
        }
        if connection.family == AF_UNIX {
            // A pair (`socketpair`) has no path, so an error is none.
            let _ = self.probes.unix_paths.remove(&index);
        }
        if let Err(error) = self.probes.free.push(index, 0) {
            log::warn!("cannot hand back a slot: {error}");
        }
    }

    /// Takes note of requests that end with their connection.
    fn end_requests(&mut self, index: u32, connection: &Connection, now_ns: u64) {
        let Some((member, server)) = self.ledger.place(index, connection) else { return };
        if let Err(error) = self.probes.names.requests.end(connection, member, &server, now_ns) {
            log::warn!("cannot read what requests are of: {error}");
        }
    }

    /// Takes the records of the kernel half's ring.
    pub fn drain_events(&mut self) {
        let (mut records, mut encrypted) = (Vec::new(), Vec::new());
        while let Some(record) = self.probes.events.next() {
            if let Some(bytes) = record.first_chunk::<{ size_of::<event::Oversized>() }>() {
                // SAFETY: integers only, and as many bytes as the kernel half wrote of them.
                records.push(unsafe { bytes.as_ptr().cast::<event::Oversized>().read_unaligned() });
            } else if let Some(bytes) = record.first_chunk::<{ size_of::<event::Encrypted>() }>() {
                encrypted.extend(u32::try_from(event::Encrypted::from_ne_bytes(*bytes)));
            }
        }
        for pid in encrypted {
            self.probes.look_at(pid);
        }
        for record in records {
            self.note(&record);
        }
    }

    fn note(&mut self, record: &event::Oversized) {
        let path = self.path(record.index, record.family);
        let (local, remote) = (
            address::Address(record.local, record.local_port),
            address::Address(record.remote, record.remote_port),
        );
        let role = Role::from_u8(record.role);
        let ends = address::ends(record.family, role, [local, remote], path.as_ref());
        let direction =
            if record.direction == Direction::Sent as u8 { Direction::Sent } else { Direction::Received };
        let client = address::client(record.client, record.client_port);
        let subject = self.subject(record.owner, record.comm, role, (ends, client), direction);
        for category in record.first..=record.last {
            self.events.push(Event::Oversized(Oversized {
                time: events::wall_clock(record.time_ns),
                subject: subject.clone(),
                size_bytes: record.size,
                size_category: websocket::families::category(u32::from(category)),
            }));
        }
    }

    fn note_high_rate(&mut self, index: u32, connection: &Connection, excess: Excess, now_ns: u64) {
        let ends = address::ends_of(connection, self.path(index, connection.family).as_ref());
        let role = Role::from_u8(connection.role);
        let client = address::client(connection.client, connection.client_port);
        let subject = self.subject(connection.owner, connection.comm, role, (ends, client), excess.direction);
        self.events.push(Event::HighRate(HighRate {
            time: events::wall_clock(now_ns),
            subject,
            messages: excess.messages,
            seconds: excess.seconds,
            messages_per_second: excess.messages as f64 / excess.seconds,
            limit_per_minute: self.messages_per_minute,
        }));
    }

    /// Whom an event is about, given both ends and the client that was declared.
    fn subject(
        &mut self,
        owner: Owner,
        comm: [u8; 16],
        role: Role,
        ((local, remote), client): ((String, String), String),
        direction: Direction,
    ) -> Subject {
        let identity = self.ledger.identify(owner, comm);
        Subject {
            process: identity.name.clone(),
            pid: identity.pid,
            container: identity.container.clone(),
            role: labels::role(role),
            local,
            remote,
            client,
            direction: labels::direction(direction),
        }
    }

    /// Tells the ledger the server's end where it needs it.
    fn name_server(&mut self, index: u32, connection: &Connection, now_ns: u64) {
        if self.ledger.needs_server(index, connection) {
            let path = self.path(index, connection.family);
            let server = address::server(connection, path.as_ref());
            self.ledger.name_server(index, connection, &server, now_ns);
        }
    }

    fn path(&self, index: u32, family: u16) -> Option<UnixPath> {
        if family != AF_UNIX {
            return None;
        }
        self.probes.unix_paths.get(&index, 0).ok().map(|value| value.0)
    }

    /// Sums of what the kernel half could not do.
    fn losses(&self) -> Losses {
        let mut sum = Losses::ZERO;
        if let Ok(values) = self.probes.losses.get(&0, 0) {
            values.iter().for_each(|value| sum.add(&value.0));
        }
        sum
    }

    /// Collects, and encodes everything as `/metrics` shows it, with what its HTTP server counts.
    pub fn scrape(&mut self, format: Format, web: &Counts) -> anyhow::Result<Vec<u8>> {
        self.collect_all()?;
        let mut view = self.view();
        self.probes.names.fill(&mut view);
        info::complete(&mut view.redis_info, &self.redis_polls);
        let busiest: Vec<Row> = if self.flow_series == 0 {
            Vec::new()
        } else {
            self.flows(&Query { limit: Some(self.flow_series), ..Query::default() })
                .filter(|row| row.bytes_per_second.sent + row.bytes_per_second.received > 0.0)
                .collect()
        };
        let losses = self.losses();
        let facts = Facts {
            probes: &self.probes.probes,
            tracked: self.probes.arena.tracked(),
            losses: &losses,
            missed_runs: self.probes.missed_runs(),
            collects: (&self.collects, self.collect_seconds),
        };
        let everything = Everything {
            view: &view,
            lives: self.ledger.lives(),
            created: self.created,
            now: events::wall_clock(events::monotonic_now_ns()),
            node: self.ledger.node(),
            redis_polls: &self.redis_polls,
            busiest: &busiest,
            facts: &facts,
            web,
        };
        let families = metrics::families(&everything, &mut self.folder);
        Ok(encode(format, &families, &prometheus::gather())?)
    }

    /// Everything as it is now, with what open connections are answering.
    fn view(&self) -> View {
        let now_ns = events::monotonic_now_ns();
        let mut streams = Vec::new();
        let connections = self.connections().inspect(|(index, connection)| {
            if let Some(stream) = self.probes.names.requests.stream(connection, now_ns)
                && let Some(place) = self.ledger.place(*index, connection)
            {
                streams.push((place, stream));
            }
        });
        let mut view = self.ledger.view(connections, now_ns);
        for (((process, role), server), stream) in streams {
            let group = Group::of(&process, role);
            let books = &mut view.groups.entry(group).or_default().books;
            books.http.entry(server).or_default().add_stream(stream);
        }
        view
    }

    /// The rings by which the kernel half wakes the agent: events, and connections that are gone.
    pub fn rings(&self) -> [BorrowedFd<'_>; 2] {
        // SAFETY: both rings live as long as the agent, from which the result borrows.
        [self.probes.events.as_raw_fd(), self.probes.retired.as_raw_fd()]
            .map(|ring| unsafe { BorrowedFd::borrow_raw(ring) })
    }
}
