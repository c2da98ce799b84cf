//! A user's minutes: the messages of one WebSocket connection, a minute at a time from when it was first seen.

use observer_ebpf::layout::Direction;

use crate::counts::{add_all, bucket};

/// Nanoseconds of one.
const MINUTE_NS: u64 = 60_000_000_000;

/// The longest between two looks at a connection, by far; one that is looked at for the first time was there
/// for at most that.
const TICK_NS: u64 = 1_000_000_000;

/// Upper bounds of the buckets of `user_messages_per_minute`.
pub const BOUNDS: [f64; 9] = [1.0, 10.0, 60.0, 100.0, 300.0, 600.0, 1000.0, 6000.0, 60000.0];

/// Full minutes of connections, in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minutes {
    /// Minutes, by how many messages were in them; the last ones are above all of [`BOUNDS`].
    pub counts: [u64; BOUNDS.len() + 1],
    /// Messages in all.
    pub messages: u64,
}

impl Minutes {
    /// Adds one with so many messages.
    pub fn add(&mut self, messages: u64) {
        self.counts[bucket(messages as f64, &BOUNDS)] += 1;
        self.messages += messages;
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        add_all(&mut self.counts, &other.counts);
        self.messages += other.messages;
    }
}

/// How users are told apart by the messages that they sent in their current minute or in the one before,
/// whichever had more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// No message.
    Idle,
    /// At most a tenth of the limit.
    Low,
    /// At most the limit.
    Normal,
    /// More.
    High,
}

impl Rate {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Low, Self::Normal, Self::High];

    /// The rate of a user who sends so many messages a minute.
    pub const fn of(messages: u64, limit: u64) -> Self {
        if messages > limit {
            Self::High
        } else if messages == 0 {
            Self::Idle
        } else if messages <= limit / 10 {
            Self::Low
        } else {
            Self::Normal
        }
    }
}

/// That a user has sent more in a minute than the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// Messages so far.
    pub messages: u64,
    /// The seconds that they came in, at least a thousandth.
    pub seconds: f64,
    /// Which way they go: a client sends its own, and a server receives them.
    pub direction: Direction,
}

/// What a look at a connection tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Messages by direction in a minute that is over.
    pub full: Option<[u64; 2]>,
    /// The user went over the limit, which is told once a minute.
    pub excess: Option<Excess>,
}

/// A connection's current minute, and how many messages the user sent in the one before.
#[derive(Clone, Debug)]
pub struct Minute {
    began_ns: u64,
    /// The connection's messages by direction when it began.
    at_start: [u64; 2],
    last: u64,
    excess_told: bool,
}

impl Minute {
    /// The first minute of a connection that was first seen at `seen_ns`, as anything, and is first looked at
    /// as a WebSocket now.
    pub fn new(seen_ns: u64, now_ns: u64) -> Self {
        let began_ns = seen_ns.max(now_ns.saturating_sub(TICK_NS)).min(now_ns);
        Self { began_ns, at_start: [0; 2], last: 0, excess_told: false }
    }

    /// Looks at the connection's messages so far, of which those in `user` direction are the user's.
    pub fn look(&mut self, messages: [u64; 2], user: Direction, limit: u64, now_ns: u64) -> Look {
        let so_far = self.so_far(messages);
        let sent = so_far[user as usize];
        let age_ns = now_ns.saturating_sub(self.began_ns);
        let mut look = Look::default();
        if sent > limit && !self.excess_told {
            self.excess_told = true;
            let seconds = (age_ns as f64 / 1e9).max(0.001);
            look.excess = Some(Excess { messages: sent, seconds, direction: user });
        }
        if age_ns >= MINUTE_NS {
            look.full = Some(so_far);
            // On from where it should have ended, so that minutes do not wander.
            self.began_ns += age_ns / MINUTE_NS * MINUTE_NS;
            self.at_start = messages;
            self.last = sent;
            self.excess_told = false;
        }
        look
    }

    /// How the user is doing.
    pub fn rate(&self, messages: [u64; 2], user: Direction, limit: u64) -> Rate {
        Rate::of(self.so_far(messages)[user as usize].max(self.last), limit)
    }

    fn so_far(&self, messages: [u64; 2]) -> [u64; 2] {
        [0, 1].map(|at| messages[at].saturating_sub(self.at_start[at]))
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::Direction::{Received, Sent};

    use super::{BOUNDS, Look, MINUTE_NS, Minute, Rate};
    use crate::counts::bucket;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_full_minute_is_told_once() {
        let mut minute = Minute::new(5 * SECOND, 5 * SECOND + 400_000_000);
        let mut told = Vec::new();
        for tick in 6..=190 {
            // Two a second one way, one every ten seconds the other.
            let messages = [2 * (tick - 5), (tick - 5) / 10];
            told.extend(minute.look(messages, Sent, 1000, tick * SECOND).full);
        }
        assert_eq!(told, [[120, 6], [120, 6], [120, 6]]);
    }

    #[test]
    fn going_over_the_limit_is_told_at_once_and_once_a_minute() {
        let mut minute = Minute::new(0, 0);
        let over = |look: Look| look.excess.map(|excess| (excess.messages, excess.seconds));
        assert_eq!(over(minute.look([0, 100], Received, 100, SECOND)), None);
        assert_eq!(over(minute.look([0, 101], Received, 100, 2 * SECOND)), Some((101, 2.0)));
        assert_eq!(over(minute.look([0, 9999], Received, 100, 3 * SECOND)), None);
        assert_eq!(over(minute.look([0, 9999], Received, 100, MINUTE_NS)), None);
        // What others say to the user is not the user's.
        assert_eq!(over(minute.look([9999, 10_099], Received, 100, MINUTE_NS + SECOND)), None);
        assert_eq!(
            over(minute.look([9999, 10_100], Received, 100, MINUTE_NS + 2 * SECOND)),
            Some((101, 2.0))
        );
    }

    #[test]
    fn a_minute_that_goes_over_with_its_last_messages_is_told() {
        let mut minute = Minute::new(0, 0);
        let look = minute.look([101, 0], Sent, 100, MINUTE_NS + 10);
        assert_eq!((look.full, look.excess.map(|excess| excess.messages)), (Some([101, 0]), Some(101)));
    }

    #[test]
    fn rates_are_of_the_current_minute_or_the_one_before() {
        let mut minute = Minute::new(0, 0);
        assert_eq!(minute.rate([0, 50], Sent, 100), Rate::Idle);
        assert_eq!(minute.rate([10, 0], Sent, 100), Rate::Low);
        assert_eq!(minute.rate([11, 0], Sent, 100), Rate::Normal);
        assert_eq!(minute.rate([101, 0], Sent, 100), Rate::High);
        minute.look([101, 0], Sent, 100, MINUTE_NS);
        assert_eq!(minute.rate([101, 0], Sent, 100), Rate::High);
        minute.look([101, 0], Sent, 100, 2 * MINUTE_NS);
        assert_eq!(minute.rate([101, 0], Sent, 100), Rate::Idle);
        assert_eq!([Rate::of(0, 0), Rate::of(1, 0), Rate::of(1, 5)], [Rate::Idle, Rate::High, Rate::Normal]);
    }

    #[test]
    fn bounds_are_inclusive() {
        assert_eq!([0.0, 1.0, 2.0, 60_000.0, 60_001.0].map(|count| bucket(count, &BOUNDS)), [0, 0, 1, 8, 9]);
    }
}
