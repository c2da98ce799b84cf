//! The node's own rate: WebSocket data messages a second, each counted once.
//!
//! A message between two local processes is seen twice, by the one that sends it and by the one that receives
//! it. What either end has seen so far is added up by link, the two ends' addresses without regard to which is
//! whose; of what one end has sent and the other received, the greater is what passed. So it is the same
//! whether both ends are seen or one, in whichever order they are looked at, and whether one is gone already.
//!
//! Limits: where addresses are translated between two local processes, their ends are two links, and their
//! messages count twice. So do those which a receiver leaves unread for longer than `FORGET_NS`.

use std::collections::{HashMap, VecDeque};

use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{AF_INET, AF_UNIX, Connection, FLAG_PAIR};

use crate::rates::SECONDS;

/// How long a link is held on which nothing passes while one end has seen more than the other.
const FORGET_NS: u64 = 20_000_000_000;

/// What the rate must fall to, of the threshold, before it can rise above it again: around the threshold it
/// would otherwise be a spike every few seconds.
const REARM: f64 = 0.9;

/// An address and a port.
type End = ([u8; 16], u16);

/// Two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Link {
    /// TCP's, in order, and the network namespace where an address means nothing outside of it.
    Tcp([End; 2], u32),
    /// A UNIX client's inode; the lower one of a socket pair.
    Unix(u64),
}

/// What has passed on a link.
#[derive(Clone, Debug, Default)]
struct Passed {
    /// Messages that each end has seen, by its direction.
    seen: [[u64; 2]; 2],
    counted: u64,
    last_ns: u64,
}

impl Passed {
    fn total(&self) -> u64 {
        let [[sent, received], [other_sent, other_received]] = self.seen;
        sent.max(other_received) + received.max(other_sent)
    }

    /// Whether both ends have seen the same: then it is as if nothing had passed.
    fn is_even(&self) -> bool {
        let [[sent, received], [other_sent, other_received]] = self.seen;
        sent == other_received && received == other_sent
    }
}

/// Messages on the node, over the last ten seconds.
#[derive(Debug)]
pub struct Node {
    links: HashMap<Link, Passed>,
    messages: u64,
    /// When ticks were, and `messages` then; the oldest first.
    samples: VecDeque<(u64, u64)>,
    threshold: u64,
    is_above: bool,
    spikes: u64,
}

impl Node {
    /// Before the first message. More than `threshold` a second are a spike.
    pub fn new(threshold: u64, now_ns: u64) -> Self {
        Self {
            links: HashMap::new(),
            messages: 0,
            samples: VecDeque::from([(now_ns, 0)]),
            threshold,
            is_above: false,
            spikes: 0,
        }
    }

    /// Counts messages of a connection since it was last looked at, by direction.
    pub fn count(&mut self, connection: &Connection, messages: [u64; 2], now_ns: u64) {
        if messages == [0; 2] {
            return;
        }
        let (link, end) = link(connection);
        let passed = self.links.entry(link).or_default();
        for (seen, more) in passed.seen[end].iter_mut().zip(messages) {
            *seen += more;
        }
        passed.last_ns = now_ns;
        let total = passed.total();
        self.messages += total - passed.counted;
        passed.counted = total;
    }

    /// Takes note that a second is over.
    pub fn tick(&mut self, now_ns: u64) {
        self.samples.push_back((now_ns, self.messages));
        // As many as make ten seconds; ticks may come a little early or late.
        while let Some(&(next_ns, _)) = self.samples.get(1)
            && now_ns.saturating_sub(next_ns) >= SECONDS as u64 * 1_000_000_000 - 500_000_000
        {
            self.samples.pop_front();
        }
        let (messages, seconds) = self.span();
        // In the agent's first seconds, too, a spike takes as many messages as it would later.
        let rate = messages / seconds.max(SECONDS as f64 - 0.5);
        let threshold = self.threshold as f64;
        if rate > threshold && !self.is_above {
            self.is_above = true;
            self.spikes += 1;
        } else if rate <= threshold * REARM {
            self.is_above = false;
        }
        self.links.retain(|_, passed| !passed.is_even() && now_ns.saturating_sub(passed.last_ns) < FORGET_NS);
        if self.links.capacity() > 1024.max(4 * self.links.len()) {
            self.links.shrink_to(2 * self.links.len());
        }
    }

    /// Messages a second over the last ten, or since the agent started.
    pub fn rate(&self) -> f64 {
        let (messages, seconds) = self.span();
        messages / seconds.max(1.0)
    }

    /// How often the rate rose above the threshold.
    pub const fn spikes(&self) -> u64 {
        self.spikes
    }

    /// Messages between the oldest tick held and the last one, and the seconds.
    fn span(&self) -> (f64, f64) {
        let (Some(&(from_ns, before)), Some(&(to_ns, now))) = (self.samples.front(), self.samples.back())
        else {
            return (0.0, 0.0);
        };
        ((now - before) as f64, to_ns.saturating_sub(from_ns) as f64 / 1e9)
    }
}

/// The link that a connection is one end of, and which.
fn link(connection: &Connection) -> (Link, usize) {
    if connection.family == AF_UNIX {
        let [own, peer] = connection.inodes();
        if connection.flags & FLAG_PAIR != 0 && peer != 0 {
            return (Link::Unix(own.min(peer)), usize::from(own > peer));
        }
        return match Role::from_u8(connection.role) {
            Role::Client => (Link::Unix(own), 0),
            Role::Server => (Link::Unix(if peer == 0 { own } else { peer }), 1),
        };
    }
    let local = (mapped(connection.family, connection.local), connection.local_port);
    let remote = (mapped(connection.family, connection.remote), connection.remote_port);
    let namespace = if is_loopback(local.0) || is_loopback(remote.0) { connection.netns } else { 0 };
    let end = usize::from(local > remote);
    (Link::Tcp(if end == 0 { [local, remote] } else { [remote, local] }, namespace), end)
}

/// An IPv4 address as the other end may have it, mapped into IPv6 (RFC 4291, section 2.5.5.2).
fn mapped(family: u16, address: [u8; 16]) -> [u8; 16] {
    if family != AF_INET {
        return address;
    }
    let [a, b, c, d, ..] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d]
}

/// Whether an address, IPv6 or mapped into it, is one of the host itself, in its network namespace alone.
fn is_loopback(address: [u8; 16]) -> bool {
    std::net::Ipv6Addr::from(address).to_canonical().is_loopback()
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests {
    use observer_ebpf::layout::Role;
    use observer_ebpf::layout::connection::{AF_INET, AF_INET6, AF_UNIX, Connection};

    use super::Node;

    const SECOND: u64 = 1_000_000_000;

    fn end(local: [u8; 4], local_port: u16, remote: [u8; 4], remote_port: u16, netns: u32) -> Connection {
        // SAFETY: the layout is of integers only, of which all may be zero.
        let mut connection: Connection = unsafe { std::mem::zeroed() };
        connection.family = AF_INET;
        connection.local[..4].copy_from_slice(&local);
        connection.remote[..4].copy_from_slice(&remote);
        (connection.local_port, connection.remote_port) = (local_port, remote_port);
        connection.netns = netns;
        connection
    }

    fn node() -> Node {
        Node::new(10_000, 0)
    }

    fn count(node: &mut Node, counts: &[(&Connection, [u64; 2])]) -> u64 {
        for (connection, messages) in counts {
            node.count(connection, *messages, 0);
        }
        node.messages
    }

    #[test]
    fn a_message_between_two_local_processes_counts_once_in_any_order() {
        let here = [127, 0, 0, 1];
        let (client, server) = (end(here, 40_000, here, 80, 1), end(here, 80, here, 40_000, 1));
        assert_eq!(count(&mut node(), &[(&client, [5, 2]), (&server, [2, 5])]), 7);
        assert_eq!(count(&mut node(), &[(&server, [2, 4]), (&client, [5, 2]), (&server, [0, 1])]), 7);
        // One end alone, as of a remote one.
        assert_eq!(count(&mut node(), &[(&client, [5, 2])]), 7);
        // An end whose stream was not followed all the time.
        assert_eq!(count(&mut node(), &[(&client, [5, 2]), (&server, [0, 3])]), 7);
        // Another connection is another link.
        let other = end(here, 40_001, here, 80, 1);
        assert_eq!(count(&mut node(), &[(&client, [5, 2]), (&other, [5, 2])]), 14);
    }

    #[test]
    fn namespaces_are_crossed_by_addresses_that_can() {
        let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (client, server) = (end(one, 40_000, other, 80, 1), end(other, 80, one, 40_000, 2));
        assert_eq!(count(&mut node(), &[(&client, [5, 0]), (&server, [0, 5])]), 5);
        let here = [127, 0, 0, 1];
        let (client, server) = (end(here, 40_000, here, 80, 1), end(here, 80, here, 40_000, 2));
        assert_eq!(count(&mut node(), &[(&client, [5, 0]), (&server, [0, 5])]), 10);
    }

    #[test]
    fn a_server_may_have_a_mapped_address() {
        let here = [127, 0, 0, 1];
        let client = end(here, 40_000, here, 80, 1);
        let mut server = end([0; 4], 80, [0; 4], 40_000, 1);
        server.family = AF_INET6;
        for address in [&mut server.local, &mut server.remote] {
            address[10..].copy_from_slice(&[0xFF, 0xFF, 127, 0, 0, 1]);
        }
        assert_eq!(count(&mut node(), &[(&client, [5, 2]), (&server, [2, 5])]), 7);
    }

    #[test]
    fn unix_sockets_are_told_by_the_inode_of_the_client() {
        let mut client = end([0; 4], 0, [0; 4], 0, 1);
        client.family = AF_UNIX;
        // The client's peer was not accepted when it was first seen.
        client.set_inodes([100, 0]);
        let mut server = client;
        server.set_inodes([200, 100]);
        server.role = Role::Server as u8;
        assert_eq!(count(&mut node(), &[(&client, [5, 2]), (&server, [2, 5])]), 7);
        let mut other = server;
        other.set_inodes([201, 101]);
        assert_eq!(count(&mut node(), &[(&client, [5, 2]), (&other, [2, 5])]), 14);
    }

    #[test]
    fn links_are_forgotten_but_what_passed_is_not() {
        let here = [127, 0, 0, 1];
        let (client, server) = (end(here, 40_000, here, 80, 1), end(here, 80, here, 40_000, 1));
        let mut node = node();
        count(&mut node, &[(&client, [5, 2]), (&server, [2, 4])]);
        node.tick(SECOND);
        assert_eq!(node.links.len(), 1, "one message is on its way");
        assert_eq!(count(&mut node, &[(&server, [0, 1])]), 7);
        node.tick(2 * SECOND);
        assert_eq!(node.links.len(), 0);
        count(&mut node, &[(&client, [1, 0])]);
        node.tick(30 * SECOND);
        assert_eq!((node.links.len(), node.messages), (0, 8));
    }

    #[test]
    fn a_burst_is_one_spike_and_another_one_another() {
        let here = [127, 0, 0, 1];
        let client = end(here, 40_000, here, 80, 1);
        let mut node = node();
        let mut rates = Vec::new();
        for second in 1..=100 {
            // Ten seconds above the threshold and as many around it, then some that are quiet; and again.
            let messages = match second % 50 {
                5..15 => 20_000,
                15..25 => 9_900 + 200 * (second % 2),
                _ => 10,
            };
            node.count(&client, [0, messages], second * SECOND);
            node.tick(second * SECOND);
            rates.push((node.rate(), node.spikes()));
        }
        assert_eq!(rates[13], (20_000.0, 1));
        assert_eq!(rates[23], (10_000.0, 1));
        assert_eq!(rates[48], (10.0, 1));
        assert_eq!(rates[99].1, 2);
    }

    #[test]
    fn the_first_seconds_are_no_spike_by_themselves() {
        let here = [127, 0, 0, 1];
        let mut node = node();
        node.count(&end(here, 1, here, 2, 1), [50_000, 0], 0);
        node.tick(SECOND);
        assert_eq!((node.rate(), node.spikes()), (50_000.0, 0));
        node.count(&end(here, 1, here, 2, 1), [50_001, 0], 0);
        node.tick(2 * SECOND);
        assert_eq!(node.spikes(), 1);
    }
}
