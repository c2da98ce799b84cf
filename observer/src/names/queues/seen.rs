//! What was last seen in a list, and when the server said so; and in a stream, of what its groups have not been delivered.

use observer_ebpf::layout::Role;
use observer_ebpf::queues::deque::{Deque, TICK_BITS, ticks};

use crate::queues::Level;

/// How long what the server has told one of its clients holds: clients on other hosts may put in and take out meanwhile.
const HOLDS_NS: u64 = 60 * 1_000_000_000;

/// A time in ticks, which wrap around, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    ticks: u32,
    at_ns: u64,
}

/// What was last seen in a list, or in a stream for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The process and server that it is told of, by their number.
    pub(super) service: u32,
    /// Whether a message has been taken out.
    pub(super) is_taken: bool,
    messages: u64,
    oldest_ns: u64,
    /// When the server last told how many messages there are, if it has.
    told: Option<Stamp>,
    used: Stamp,
}

impl Seen {
    /// That of a queue of which this was seen `before`.
    pub(super) fn of(deque: &Deque, before: Option<&Self>, now_ns: u64) -> Self {
        let now = ticks(now_ns);
        let told = (deque.is_told != 0).then(|| {
            let before = before.and_then(|before| before.told);
            Stamp::of(deque.told, before, now_ns)
        });
        Self {
            service: deque.service,
            is_taken: deque.is_taken != 0,
            messages: deque.length_at(now),
            // Where it is not known, it is at least so much.
            oldest_ns: deque.oldest(now).map_or(0, |(age, _)| nanoseconds(age)),
            told,
            used: Stamp::of(deque.used, before.map(|before| before.used), now_ns),
        }
    }

    /// That of a consumer group of a stream, which has been told of if it is known what the group has not been delivered.
    pub(super) fn of_group(group: &Deque, stream: &Deque, now_ns: u64) -> Self {
        let now = ticks(now_ns);
        let lag = group.lag(stream, now);
        let (messages, oldest) = lag.unwrap_or_default();
        let stamp = Stamp { ticks: now, at_ns: now_ns };
        Self {
            service: group.service,
            is_taken: true,
            messages,
            oldest_ns: nanoseconds(oldest),
            told: lag.map(|_| stamp),
            used: stamp,
        }
    }

    /// Whether messages are known to wait.
    pub(super) const fn has_any(&self) -> bool {
        self.told.is_some() && self.messages > 0
    }

    /// When the list was last used.
    pub(super) const fn used_ns(&self) -> u64 {
        self.used.at_ns
    }

    /// What is in it, where that is known at an end.
    pub(super) fn level(&self, role: Role, now_ns: u64) -> Option<Level> {
        let told = self.told?;
        let holds = match role {
            Role::Server => true,
            Role::Client => now_ns.saturating_sub(told.at_ns) < HOLDS_NS,
        };
        holds.then_some(Level { messages: self.messages, oldest_ns: Some(self.oldest_ns) })
    }
}

impl Stamp {
    /// Where it is the same as before, it is as long ago as it was: ticks wrap around.
    fn of(at: u32, before: Option<Self>, now_ns: u64) -> Self {
        if let Some(before) = before.filter(|before| before.ticks == at) {
            return before;
        }
        let passed = ticks(now_ns).wrapping_sub(at);
        // Another processor's clock may be a little ahead.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
        Self { ticks: at, at_ns: now_ns.saturating_sub(nanoseconds(passed)) }
    }
}

fn nanoseconds(ticks: u32) -> u64 {
    u64::from(ticks) << TICK_BITS
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::Role;
    use observer_ebpf::queues::Followed;
    use observer_ebpf::queues::deque::{Asked, Deque, Expected, LASTING, ticks};

    use super::{HOLDS_NS, Level, Seen, Stamp, nanoseconds};

    const SECOND: u64 = 1_000_000_000;
    const NOTHING: Expected = Expected { length: 0, taken: 0 };

    fn deque(now_ns: u64) -> Deque {
        let mut deque = Deque::NONE;
        deque.start(200, 7, 0, ticks(now_ns));
        deque
    }

    #[test]
    fn a_list_is_told_of_once_the_server_has_said_how_long_it_is() {
        let mut now_ns = 100 * SECOND;
        let mut deque = deque(now_ns);
        let seen = Seen::of(&deque, None, now_ns);
        assert_eq!((seen.level(Role::Server, now_ns), seen.is_taken, seen.service), (None, false, 7));
        deque.compare(NOTHING, 5, ticks(now_ns));
        now_ns += 10 * SECOND;
        let seen = Seen::of(&deque, Some(&seen), now_ns);
        for role in [Role::Server, Role::Client] {
            let level = seen.level(role, now_ns).expect("it was told");
            // It was all there before anybody looked: for ten seconds at least.
            assert_eq!(level.messages, 5);
            let error_ns = level.oldest_ns.map_or(u64::MAX, |oldest_ns| oldest_ns.abs_diff(10 * SECOND));
            assert!(error_ns <= nanoseconds(1), "{level:?}");
        }
    }

    #[test]
    fn what_a_client_was_told_holds_for_a_minute() {
        let start_ns = 100 * SECOND;
        let mut deque = deque(start_ns);
        deque.compare(NOTHING, 5, ticks(start_ns));
        let mut seen = None;
        for second in 0..=61 {
            seen = Some(Seen::of(&deque, seen.as_ref(), start_ns + second * SECOND));
        }
        let seen = seen.expect("it was looked at");
        let level = |role, passed_ns| seen.level(role, start_ns + passed_ns).map(|level| level.messages);
        assert_eq!(level(Role::Client, HOLDS_NS - SECOND), Some(5));
        assert_eq!([level(Role::Client, HOLDS_NS), level(Role::Server, HOLDS_NS)], [None, Some(5)]);
        deque.compare(NOTHING, 3, ticks(start_ns + 60 * SECOND));
        let seen = Seen::of(&deque, Some(&seen), start_ns + 61 * SECOND);
        assert!(seen.level(Role::Client, start_ns + 61 * SECOND).is_some());
    }

    #[test]
    fn an_empty_list_has_no_old_message() {
        let now_ns = 100 * SECOND;
        let mut deque = deque(now_ns);
        deque.compare(NOTHING, 0, ticks(now_ns));
        let later_ns = now_ns + SECOND + nanoseconds(LASTING);
        let level = Seen::of(&deque, None, later_ns).level(Role::Server, later_ns).expect("it was told");
        assert_eq!((level.messages, level.oldest_ns), (0, Some(0)));
    }

    #[test]
    fn a_time_that_was_seen_stays_where_it_was_when_ticks_wrap_around() {
        let wrapped_ns = nanoseconds(u32::MAX);
        let start_ns = 5 * SECOND;
        let stamp = Stamp::of(ticks(start_ns), None, start_ns);
        let later = Stamp::of(stamp.ticks, Some(stamp), start_ns + wrapped_ns);
        assert_eq!(later.at_ns, stamp.at_ns);
        // A clock that is ahead, and one on either side of the end.
        assert_eq!(Stamp::of(ticks(start_ns) + 2, None, start_ns).at_ns, start_ns);
        let after_ns = wrapped_ns + 2 * nanoseconds(1);
        assert_eq!(Stamp::of(u32::MAX, None, after_ns).at_ns, after_ns - 2 * nanoseconds(1));
    }

    #[test]
    fn a_group_waits_for_what_was_added_since() {
        let start_ns = 100 * SECOND;
        let (mut stream, mut group) = (deque(start_ns), deque(start_ns));
        let follow = |deque: &mut Deque, what: Followed, tail: u64, now_ns: u64| {
            deque.follow(what as u32, 0, Asked::new(tail as u32, 0, false), tail, ticks(now_ns));
        };
        follow(&mut stream, Followed::Added, 0, start_ns);
        let seen = Seen::of_group(&group, &stream, start_ns);
        assert_eq!((seen.level(Role::Server, start_ns), seen.has_any()), (None, false));
        follow(&mut group, Followed::Delivered, stream.tail, start_ns);
        assert_eq!(Seen::of_group(&group, &stream, start_ns).level(Role::Server, start_ns), None);
        // It is known once that has lasted.
        let later_ns = start_ns + nanoseconds(LASTING + 1);
        let seen = Seen::of_group(&group, &stream, later_ns);
        let nothing = Level { messages: 0, oldest_ns: Some(0) };
        assert_eq!((seen.level(Role::Server, later_ns), seen.has_any()), (Some(nothing), false));
        for second in 1..=5 {
            follow(&mut stream, Followed::Added, 0, start_ns + second * SECOND);
        }
        let now_ns = start_ns + 9 * SECOND;
        let seen = Seen::of_group(&group, &stream, now_ns);
        let level = seen.level(Role::Server, now_ns).expect("it is known");
        let error_ns = level.oldest_ns.map_or(u64::MAX, |oldest_ns| oldest_ns.abs_diff(8 * SECOND));
        assert!(level.messages == 5 && error_ns <= nanoseconds(2) && seen.has_any(), "{level:?}");
        follow(&mut group, Followed::Lost, stream.tail, now_ns);
        let seen = Seen::of_group(&group, &stream, now_ns);
        assert_eq!((seen.level(Role::Server, now_ns), seen.has_any()), (None, false));
    }
}
