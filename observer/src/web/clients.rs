//! Who is connected: at most so many, for at most so long, with at most so many bytes that wait to be taken.
//!
//! ```text
//!            request complete            body handed over          all of it written
//!   Asking ───────────────────► Answering ───────────────► Flushing ───────────────► Idle
//!     ▲                                                                               │ first byte
//!     └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Where there are too many, one that is there makes way for the one that comes: of the network that has the most,
//! the one that has asked for nothing for the longest time. So a scrape gets through, whoever holds connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::auth::network;
use super::counts::{Counts, Reason};

/// Connections that may be open at once.
pub(super) const MOST: usize = 256;
/// How many bytes of answers may wait to be taken. A single answer may be larger.
const MOST_HELD: usize = 64 << 20;
/// How long a client may take to say what it wants, a TLS handshake included.
const ASKING: Duration = Duration::from_secs(10);
/// How long it may take to be answered, and to take its answer.
const ANSWERING: Duration = Duration::from_secs(60);
/// How long a connection may stay open between requests: longer than most scrapes are apart.
const IDLE: Duration = Duration::from_secs(150);

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not said yet what it wants.
    Asking,
    /// It is being answered.
    Answering,
    /// Its answer is on its way.
    Flushing,
    /// Nothing, since it was answered.
    Idle,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    network: IpAddr,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Bytes of its answer.
    held: Cell<usize>,
    has_ended: Cell<bool>,
    end: Notify,
}

impl Client {
    fn new(peer: IpAddr, now: Instant) -> Self {
        Self {
            network: network(peer),
            phase: Cell::new(Phase::Asking),
            since: Cell::new(now),
            held: Cell::new(0),
            has_ended: Cell::new(false),
            end: Notify::new(),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// Bytes came from it.
    pub(super) fn note_read(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Asking);
        }
    }

    /// It said what it wants.
    pub(super) fn note_request(&self) {
        self.enter(Phase::Answering);
    }

    /// All of its answer was handed over, or none will be.
    pub(super) fn note_answered(&self) {
        self.held.set(0);
        // Since when it is answered stays as it was: handing over and writing are one.
        self.phase.set(Phase::Flushing);
    }

    /// All that was handed over is written.
    pub(super) fn note_flushed(&self) {
        if self.phase.get() == Phase::Flushing {
            self.enter(Phase::Idle);
        }
    }

    /// Waits until the connection has to end.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }

    fn end(&self) {
        self.has_ended.set(true);
        self.end.notify_one();
    }

    fn is_answered(&self) -> bool {
        matches!(self.phase.get(), Phase::Answering | Phase::Flushing)
    }
}

/// All that are connected.
#[derive(Debug)]
pub(super) struct Clients {
    all: RefCell<Vec<Rc<Client>>>,
    counts: Arc<Counts>,
    none: Notify,
}

impl Clients {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self { all: RefCell::default(), counts, none: Notify::new() }
    }

    /// Takes in one more; another makes way for it if need be.
    pub(super) fn admit(&self, peer: IpAddr) -> Rc<Client> {
        let client = Rc::new(Client::new(peer, Instant::now()));
        let mut all = self.all.borrow_mut();
        if all.len() >= MOST {
            let at = in_the_way(&all);
            self.turn_away(&all.swap_remove(at), Reason::Crowded);
        }
        all.push(Rc::clone(&client));
        self.counts.set_connections(all.len());
        client
    }

    /// Takes note that a connection is closed.
    pub(super) fn leave(&self, client: &Rc<Client>) {
        let mut all = self.all.borrow_mut();
        // One that was turned away is gone already.
        all.retain(|other| !Rc::ptr_eq(other, client));
        self.counts.set_connections(all.len());
        if all.is_empty() {
            self.none.notify_one();
        }
    }

    /// Ends what has no request that could still be answered.
    pub(super) fn end_unasked(&self) {
        for client in self.all.borrow().iter().filter(|client| !client.is_answered()) {
            client.end();
        }
    }

    /// Waits until nobody is connected.
    pub(super) async fn gone(&self) {
        while !self.all.borrow().is_empty() {
            self.none.notified().await;
        }
    }

    fn turn_away(&self, client: &Client, reason: Reason) {
        if !client.has_ended.get() {
            self.counts.turn_away(reason);
            client.end();
        }
    }

    /// Takes note of an answer's size; the oldest other answers make way for it if need be.
    pub(super) fn hold(&self, client: &Rc<Client>, bytes: usize) {
        client.held.set(bytes);
        let all = self.all.borrow();
        let mut held: usize = all.iter().map(|one| one.held.get()).sum();
        while held > MOST_HELD {
            let others = all
                .iter()
                .filter(|one| !Rc::ptr_eq(one, client) && one.held.get() > 0 && !one.has_ended.get());
            let Some(oldest) = others.min_by_key(|one| one.since.get()) else { return };
            held -= oldest.held.replace(0);
            self.turn_away(oldest, Reason::Memory);
        }
    }

    /// Ends what has taken too long.
    pub(super) fn sweep(&self, now: Instant) {
        for client in self.all.borrow().iter() {
            let age = now.saturating_duration_since(client.since.get());
            match client.phase.get() {
                Phase::Asking if age >= ASKING => self.turn_away(client, Reason::SlowRequest),
                Phase::Answering | Phase::Flushing if age >= ANSWERING => {
                    self.turn_away(client, Reason::SlowAnswer);
                }
                // Whoever has nothing to ask is not turned away.
                Phase::Idle if age >= IDLE => client.end(),
                Phase::Asking | Phase::Answering | Phase::Flushing | Phase::Idle => {}
            }
        }
    }
}

/// The place of the one that makes way.
fn in_the_way(all: &[Rc<Client>]) -> usize {
    let mut by_network: HashMap<IpAddr, usize> = HashMap::new();
    for client in all {
        *by_network.entry(client.network).or_default() += 1;
    }
    let order = |client: &Client| {
        let others = by_network.get(&client.network).copied().unwrap_or_default();
        (std::cmp::Reverse(others), client.is_answered(), client.since.get())
    };
    all.iter().enumerate().min_by_key(|(_, client)| order(client)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Clients {
        Clients::new(Arc::default())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_open(client: &Client) -> bool {
        !client.has_ended.get()
    }

    #[test]
    fn of_the_network_that_has_the_most_the_one_that_waits_longest_makes_way() {
        let clients = clients();
        let lone = clients.admit(address(1));
        let crowd: Vec<_> = (1..MOST).map(|_| clients.admit(address(2))).collect();
        // The oldest of them is being answered.
        crowd[0].note_request();
        let newcomer = clients.admit(address(3));
        assert!(is_open(&lone) && is_open(&crowd[0]) && is_open(&newcomer));
        assert!(!is_open(&crowd[1]) && crowd[2..].iter().all(|one| is_open(one)));
        // Where all are answered, the one that has taken the longest.
        for one in &crowd {
            one.note_request();
        }
        let other = clients.admit(address(3));
        assert!(is_open(&lone) && is_open(&other) && !is_open(&crowd[0]));
        assert_eq!(clients.counts.turned_away(Reason::Crowded), 2);
        assert_eq!(clients.counts.connections(), MOST as u64);
        assert_eq!(clients.all.borrow().len(), MOST);
        for one in crowd.iter().chain([&lone, &newcomer, &other]) {
            clients.leave(one);
        }
        assert_eq!(clients.counts.connections(), 0);
    }

    #[test]
    fn who_takes_too_long_is_ended_and_who_has_nothing_to_ask_too() {
        let clients = clients();
        let [slow, answered, idle, prompt] = [1, 2, 3, 4].map(|last| clients.admit(address(last)));
        answered.note_request();
        idle.note_request();
        idle.note_answered();
        idle.note_flushed();
        let start = Instant::now();
        clients.sweep(start + Duration::from_secs(9));
        assert!([&slow, &answered, &idle, &prompt].into_iter().all(|one| is_open(one)));
        prompt.note_request();
        clients.sweep(start + Duration::from_secs(11));
        assert!(!is_open(&slow) && is_open(&answered) && is_open(&idle) && is_open(&prompt));
        clients.sweep(start + Duration::from_secs(61));
        assert!(!is_open(&answered) && is_open(&idle));
        // A byte, and it has to say what it wants.
        clients.sweep(start + Duration::from_secs(149));
        assert!(is_open(&idle));
        idle.note_read();
        assert_eq!(idle.phase.get(), Phase::Asking);
        clients.sweep(start + Duration::from_secs(155));
        assert!(!is_open(&idle));
        for (reason, count) in [(Reason::SlowRequest, 2), (Reason::SlowAnswer, 2)] {
            assert_eq!(clients.counts.turned_away(reason), count, "{reason:?}");
        }
    }

    #[test]
    fn answers_that_nobody_takes_make_way_for_others() {
        let clients = clients();
        let all = [1, 2, 3].map(|last| clients.admit(address(last)));
        for one in &all {
            one.note_request();
            clients.hold(one, MOST_HELD / 2);
        }
        assert!(!is_open(&all[0]) && is_open(&all[1]) && is_open(&all[2]));
        // One that was taken is none any more.
        all[1].note_answered();
        let large = clients.admit(address(4));
        large.note_request();
        clients.hold(&large, MOST_HELD * 2);
        assert!(is_open(&large) && !is_open(&all[2]) && is_open(&all[1]));
        assert_eq!(clients.counts.turned_away(Reason::Memory), 2);
    }
}
