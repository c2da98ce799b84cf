//! Deques: how long messages have waited, compared with a list that keeps every time.

mod common;

use std::collections::VecDeque;

use common::Buffers;
use observer_ebpf::queues::End;
use observer_ebpf::queues::deque::{Deque, Expected, FRONT, LASTING, TIMES, Taken};
use proptest::collection::vec;
use proptest::prelude::*;

/// A deque, and a list of what is in it: when each message was put in, and which of those at the end it was.
struct Both {
    deque: Deque,
    list: VecDeque<(u32, Option<usize>)>,
    /// When all that were put in at the end were.
    times: Vec<u32>,
    now: u32,
}

impl Both {
    fn new() -> Self {
        let mut deque = Deque::NONE;
        deque.start(3, 1, 0, 0);
        Self { deque, list: VecDeque::new(), times: Vec::new(), now: 0 }
    }

    fn put(&mut self, end: End, count: u32) -> Expected {
        self.deque.settle(self.now);
        self.deque.put::<Buffers<'_>>(end, count, self.now)
    }

    /// At the end, with the server's reply.
    fn push(&mut self, count: u32) {
        for _ in 0..count {
            self.list.push_back((self.now, Some(self.times.len())));
            self.times.push(self.now);
        }
        let expected = self.put(End::Right, count);
        self.deque.compare(expected, self.list.len() as u32, self.now);
    }

    /// Where messages are taken, as some are that come back.
    fn push_front(&mut self, count: u32) {
        for _ in 0..count {
            self.list.push_front((self.now, None));
        }
        let expected = self.put(End::Left, count);
        self.deque.compare(expected, self.list.len() as u32, self.now);
    }

    /// Takes one, and compares its age.
    fn pop(&mut self) {
        let Some((time, place)) = self.list.pop_front() else { return };
        self.deque.settle(self.now);
        let age = self.deque.take(End::Left, self.now).expect("the age is known");
        let depth = place.map_or(0, |place| self.times.len() - place);
        // One that is no deeper than so many is known by its own time.
        let mut step = 1;
        while (TIMES - 1) * step + 1 < depth {
            step *= 4;
        }
        assert!(step == 1 || step <= depth / 63, "{step} at a depth of {depth}");
        let (least, most) = match place {
            Some(place) if step > 1 => {
                let behind = self.times.get(place + step).copied().unwrap_or(self.now);
                (self.now - behind, self.now - self.times[place.saturating_sub(step)])
            }
            _ => (self.now - time, self.now - time),
        };
        assert!((least..=most).contains(&age), "{age} is not in {least}..={most}, {depth} deep");
    }

    fn fronts(&self) -> u32 {
        self.list.iter().filter(|(_, place)| place.is_none()).count() as u32
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    PushFront(u32),
    Pop(u32),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..4_u32).prop_map(Step::Push),
        (1..3_000_u32).prop_map(Step::Push),
        (1..6_u32).prop_map(Step::PushFront),
        (1..500_u32).prop_map(Step::Pop),
        (1..5_000_u32).prop_map(Step::Pop),
        (1..100_000_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn ages_are_as_the_order_tells(steps in vec(step(), 1..60)) {
        let mut both = Both::new();
        // The first push tells at which end they are.
        both.push(1);
        for step in steps {
            match step {
                Step::Push(count) => both.push(count),
                Step::PushFront(count) if both.fronts() + count <= FRONT as u32 => both.push_front(count),
                Step::PushFront(_) => {}
                Step::Pop(count) => (0..count).for_each(|_| both.pop()),
                Step::Wait(ticks) => both.now += ticks,
            }
            prop_assert_eq!(both.deque.length(), both.list.len() as u64);
        }
    }

    #[test]
    fn a_stack_is_as_exact(steps in vec((1..300_u32, 0..300_u32, 0..1_000_u32), 1..60)) {
        let mut both = Both::new();
        let mut stack = Vec::new();
        for (pushed, popped, ticks) in steps {
            both.now += ticks;
            stack.extend((0..pushed).map(|_| both.now));
            let expected = both.put(End::Right, pushed);
            both.deque.compare(expected, stack.len() as u32, both.now);
            both.now += ticks;
            for _ in 0..popped.min(stack.len() as u32) {
                both.deque.settle(both.now);
                let age = both.deque.take(End::Right, both.now);
                let time = stack.pop().expect("there is one");
                // Of one below so many others the time may be kept no longer.
                prop_assert!(age.is_none_or(|age| age.abs_diff(both.now - time) <= 1_000 * 60));
                if stack.len() < 200 && both.deque.length() < 200 {
                    prop_assert_eq!(both.deque.length(), stack.len() as u64);
                }
            }
        }
    }

    /// Whatever happens in whatever order, and whatever a server says: nothing but numbers.
    #[test]
    fn anything_may_be_said(
        steps in vec((0..7_u8, any::<u32>(), any::<u32>(), 0..200_u32), 1..200),
    ) {
        let mut both = Both::new();
        let mut expected = both.put(End::Any, 0);
        for (what, one, other, ticks) in steps {
            both.now = both.now.wrapping_add(ticks);
            let end = [End::Any, End::Left, End::Right][(one % 3) as usize];
            match what {
                0 => expected = both.put(end, other % 70),
                1 => expected = both.put(end, 1),
                2 => both.deque.compare(expected, other, both.now),
                3 => both.deque.compare(expected, other % 100, both.now),
                4 => both.deque.refuse(end, other % 100),
                5 => both.deque.settle(both.now),
                _ => {
                    let _ = both.deque.take(end, both.now);
                }
            }
            let length = both.deque.length();
            prop_assert!(length < 1 << 32, "{length}");
            let _ = (both.deque.length_at(both.now), both.deque.oldest(both.now));
        }
    }
}

#[test]
fn what_was_there_before_has_no_age() {
    let mut both = Both::new();
    both.now = 1_000;
    let expected = both.put(End::Left, 1);
    both.deque.compare(expected, 4, both.now);
    assert_eq!(both.deque.length(), 4, "three were there");
    both.now = 2_000;
    assert_eq!(both.deque.oldest(both.now), Some((2_000, false)), "it is at least so old");
    let mut take = || both.deque.take(End::Right, both.now);
    assert_eq!([take(), take(), take(), take(), take()], [None, None, None, Some(1_000), None]);
    assert_eq!((both.deque.length(), both.deque.oldest(both.now)), (0, None));
}

#[test]
fn replies_of_a_pipeline_are_compared_with_what_was_expected_of_each() {
    let mut both = Both::new();
    let expected: Vec<Expected> = (0..100).map(|_| both.put(End::Left, 1)).collect();
    // A thousand were there before.
    for (place, expected) in expected.into_iter().enumerate() {
        both.deque.compare(expected, 1_001 + place as u32, 0);
    }
    assert_eq!(both.deque.length(), 1_100);
    both.now = 10 * LASTING;
    assert_eq!(both.deque.length_at(both.now), 1_100);
}

#[test]
fn replies_that_come_before_others_change_nothing() {
    let mut both = Both::new();
    for round in 0..1_000 {
        both.now = 10 * round;
        // The message is taken out before the reply to its push is seen.
        let expected = both.put(End::Left, 1);
        assert_eq!(both.deque.take(End::Right, both.now), Some(0));
        both.deque.compare(expected, 1, both.now);
        assert_eq!(both.deque.length_at(both.now), 0);
        // Two are taken out of which the replies come only behind that to a push.
        let expected = [both.put(End::Left, 3), both.put(End::Left, 1)];
        both.deque.compare(expected[0], 3, both.now);
        both.deque.compare(expected[1], 2, both.now);
        let ages = [(); 4].map(|()| both.deque.take(End::Right, both.now));
        assert_eq!(ages, [Some(0); 4]);
        assert_eq!(both.deque.length_at(both.now + LASTING), 0, "after {round} rounds");
    }
}

#[test]
fn what_was_taken_unseen_is_found_out() {
    let mut both = Both::new();
    both.push(10);
    both.now = 5_000;
    // A script has taken all of them.
    let expected = both.put(End::Right, 1);
    both.deque.compare(expected, 1, both.now);
    assert_eq!(both.deque.length_at(both.now), 11, "replies may be on their way");
    assert_eq!(both.deque.length_at(both.now + LASTING), 1);
    both.now += LASTING;
    both.deque.settle(both.now);
    assert_eq!((both.deque.length(), both.deque.take(End::Left, both.now)), (1, None));
    // What comes then is known again.
    let expected = both.put(End::Right, 1);
    both.deque.compare(expected, 1, both.now);
    both.now += 7;
    assert_eq!(both.deque.take(End::Left, both.now), Some(7));
}

#[test]
fn what_was_put_in_unseen_is_found_out_however_busy_it_is() {
    let mut both = Both::new();
    both.push(1);
    for round in 0..200 {
        both.now += 20;
        // One more than was seen; and now and then, the reply to a pop comes late.
        let expected = both.put(End::Right, 1);
        let length = 3 + u32::from(round % 3 == 0);
        both.deque.compare(expected, length, both.now);
        both.deque.settle(both.now);
        both.deque.take(End::Left, both.now);
    }
    assert_eq!(both.deque.length_at(both.now), 2);
}

#[test]
fn nothing_is_interpolated_with_what_is_gone() {
    let mut both = Both::new();
    both.push(3);
    for _ in 0..3 {
        both.pop();
    }
    // Long after, more than have a time each.
    both.now = 1_000_000;
    both.push(1_000);
    both.now += 10;
    assert_eq!(both.deque.oldest(both.now), Some((10, true)));
    for _ in 0..1_000 {
        let age = both.deque.take(End::Left, both.now);
        assert_eq!(age, Some(10));
    }
}

#[test]
fn messages_that_are_refused_are_not_there() {
    let mut both = Both::new();
    both.push(3);
    both.put(End::Right, 5);
    both.deque.refuse(End::Right, 5);
    both.put(End::Left, 2);
    both.deque.refuse(End::Left, 2);
    assert_eq!(both.deque.length(), 3);
    both.now = 9;
    both.push(1);
    for _ in 0..4 {
        both.pop();
    }
    assert_eq!(both.deque.length(), 0);
}

#[test]
fn the_other_end_may_turn_out_to_be_the_one() {
    // The first push that is seen is of a message that comes back; then come those that are new, at the other end.
    let mut both = Both::new();
    let expected = both.put(End::Right, 1);
    both.deque.compare(expected, 1, 0);
    for time in 1..=200 {
        both.now = time;
        let expected = both.put(End::Left, 1);
        both.deque.compare(expected, 1 + time, time);
    }
    assert_eq!(both.deque.length(), 201);
    both.now = 1_000;
    let ages: Vec<Option<u32>> = (0..201).map(|_| both.deque.take(End::Right, both.now)).collect();
    let known = ages.iter().flatten().count();
    assert!(known >= 201 - 1 - FRONT, "{known} ages are known");
    for (place, age) in ages.iter().enumerate().filter_map(|(place, age)| Some((place, (*age)?))) {
        assert_eq!(age, 1_000 - place as u32, "of message {place}");
    }
}

#[test]
fn what_one_process_takes_at_one_end_is_noted_in_one_word() {
    let taken = Taken::new(u32::MAX, End::Right, 20);
    assert_eq!((taken.service(), taken.end(), taken.count()), (u32::MAX, End::Right, 20));
    let both = taken.with(Taken::new(u32::MAX, End::Right, 1)).expect("they are alike");
    assert_eq!((both.service(), both.end(), both.count()), (u32::MAX, End::Right, 21));
    assert_eq!(taken.with(Taken::new(u32::MAX, End::Left, 1)), None);
    assert_eq!(taken.with(Taken::new(u32::MAX - 1, End::Right, 1)), None);
    let most = Taken::new(7, End::Any, u32::MAX);
    assert_eq!((most.count(), most.with(Taken::new(7, End::Any, 1))), (Taken::MOST, None));
}

#[test]
fn what_others_put_in_meanwhile_was_not_there_before() {
    let mut both = Both::new();
    // The server executes the second command first.
    let [one, other] = [both.put(End::Left, 1), both.put(End::Left, 3)];
    both.deque.compare(one, 4, 0);
    assert_eq!((both.deque.length(), both.deque.is_told), (4, 0), "it may be any number between");
    both.deque.compare(other, 3, 0);
    assert_eq!((both.deque.length_at(LASTING), both.deque.is_told), (4, 1));
    for round in 1..200 {
        both.now += 20 * (round % 17);
        let [one, other] = [both.put(End::Left, 1), both.put(End::Left, 2)];
        // Replies come in either order.
        let mut replies = [(one, 7), (other, 6)];
        replies.rotate_left(round as usize % 2);
        for (expected, length) in replies {
            both.deque.compare(expected, length, both.now);
        }
        assert_eq!(both.deque.length_at(both.now + LASTING), 7, "round {round}");
        for _ in 0..3 {
            both.deque.settle(both.now);
            assert!(both.deque.take(End::Right, both.now).is_some(), "round {round}");
        }
    }
}
