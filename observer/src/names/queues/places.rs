//! Which queues give up their places: plain data in, numbers out.
//!
//! A list into which messages are put may be no queue, and there may be any number of such lists. So only some places are
//! for lists that are on trial: of which nothing has been taken yet, and that nobody has named. Those of them that have
//! not been used for longest make way for others all the time. A queue keeps its place until there is none for another
//! one, and it has not been used for an hour; or for a minute, where it has no name of its own to lose.

use std::collections::HashSet;

use observer_ebpf::layout::names::LAST;
use observer_ebpf::queues::layout::{PLACES, TRIAL_PLACES, place_of};

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;
/// A list on trial that was used so lately keeps its place.
const TRIAL_NS: u64 = SECOND_NS;
/// A queue that has not been used for so long may give up its place.
const UNUSED_NS: u64 = 3600 * SECOND_NS;
/// So may one without a name of its own, where no other one can.
const OTHER_UNUSED_NS: u64 = 60 * SECOND_NS;

/// A queue that has a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) number: u32,
    /// When it was last used.
    pub(super) used_ns: u64,
    /// Whether it is known to be a queue.
    pub(super) is_settled: bool,
    /// Whether it has no name of its own.
    pub(super) is_other: bool,
}

/// A number that may be given to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) number: u32,
    /// Whether it is for a list on trial.
    pub(super) is_trial: bool,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    /// The number that each has now.
    numbers: Vec<u32>,
    /// Those for lists on trial, whether one has it or not.
    trial: HashSet<u32>,
}

impl Places {
    /// With the first numbers, of which none is too low to stand for a name.
    pub(super) fn new() -> Self {
        let numbers: Vec<u32> = (PLACES..2 * PLACES).collect();
        Self { trial: numbers[..TRIAL_PLACES as usize].iter().copied().collect(), numbers }
    }

    /// All numbers, while no queue has one.
    pub(super) fn all(&self) -> impl Iterator<Item = Free> {
        self.numbers.iter().map(|&number| Free { number, is_trial: self.trial.contains(&number) })
    }

    /// Whether it is the number of a place, and not one that a queue had before.
    pub(super) fn has(&self, number: u32) -> bool {
        self.numbers[place_of(number) as usize] == number
    }

    /// Takes note of which are queues: those are on trial no more.
    pub(super) fn settle(&mut self, uses: &[Use]) {
        for queue in uses.iter().filter(|queue| queue.is_settled) {
            self.trial.remove(&queue.number);
        }
    }

    /// Whether there are fewer places for lists on trial than there should be.
    pub(super) fn lacks_trial(&self) -> bool {
        self.trial.len() < TRIAL_PLACES as usize
    }

    /// Takes note that a number that no queue has is for lists on trial from now on.
    pub(super) fn put_on_trial(&mut self, number: u32) {
        self.trial.insert(number);
    }

    /// The numbers of those that give up their places, where `uses` are all that have one.
    pub(super) fn look(&self, now_ns: u64, uses: &[Use]) -> Vec<u32> {
        let (mut trial, others): (Vec<&Use>, Vec<&Use>) =
            uses.iter().partition(|queue| self.trial.contains(&queue.number));
        let unused_for = |queue: &Use| now_ns.saturating_sub(queue.used_ns);
        let mut freed: Vec<&Use> = Vec::new();
        if trial.len() >= self.trial.len() {
            trial.sort_unstable_by_key(|queue| (queue.used_ns, queue.number));
            trial.truncate(trial.len().div_ceil(2));
            freed.extend(trial.into_iter().filter(|queue| unused_for(queue) >= TRIAL_NS));
        }
        if others.len() >= self.numbers.len() - self.trial.len() {
            let (long, rest): (Vec<&Use>, Vec<&Use>) =
                others.into_iter().partition(|queue| unused_for(queue) >= UNUSED_NS);
            let has_any = !long.is_empty();
            let nameless =
                rest.into_iter().filter(|queue| queue.is_other && unused_for(queue) >= OTHER_UNUSED_NS);
            freed.extend(long);
            freed.extend(nameless.filter(|_| !has_any));
        }
        freed.into_iter().map(|queue| queue.number).collect()
    }

    /// Takes the place of a number away from its queue. Returns the number that it has from now on, which it had as long
    /// ago as numbers reach: what is on its way for the queue may still count under its own.
    pub(super) fn take_back(&mut self, number: u32) -> Free {
        let place = place_of(number);
        let next = number + PLACES;
        let next = if next > LAST { PLACES + place } else { next };
        self.numbers[place as usize] = next;
        self.trial.remove(&number);
        let is_trial = self.lacks_trial();
        if is_trial {
            self.trial.insert(next);
        }
        Free { number: next, is_trial }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::names::{FIRST, LAST};
    use observer_ebpf::queues::layout::{PLACES, TRIAL_PLACES};

    use super::{OTHER_UNUSED_NS, Places, SECOND_NS, TRIAL_NS, UNUSED_NS, Use};

    fn on_trial(number: u32, used_ns: u64) -> Use {
        Use { number, used_ns, is_settled: false, is_other: false }
    }

    fn settled(number: u32, used_ns: u64) -> Use {
        Use { is_settled: true, ..on_trial(number, used_ns) }
    }

    /// The numbers at the start, for lists on trial and for others.
    fn numbers(places: &Places) -> [Vec<u32>; 2] {
        let of = |is_trial| places.all().filter(move |free| free.is_trial == is_trial);
        [true, false].map(|is_trial| of(is_trial).map(|free| free.number).collect())
    }

    #[test]
    fn every_place_has_a_number_that_stands_for_a_name() {
        let places = Places::new();
        let [trial, others] = numbers(&places);
        assert_eq!((trial.len(), others.len()), (TRIAL_PLACES as usize, (PLACES - TRIAL_PLACES) as usize));
        assert!(trial.iter().chain(&others).all(|&number| number >= FIRST && places.has(number)));
    }

    #[test]
    fn numbers_go_round_and_none_comes_again_soon() {
        let mut places = Places::new();
        let first = PLACES + 5;
        let (mut number, mut given) = (first, 0);
        loop {
            let next = places.take_back(number).number;
            assert!(places.has(next) && !places.has(number) && (FIRST..=LAST).contains(&next));
            (number, given) = (next, given + 1);
            if number == first {
                break;
            }
        }
        assert_eq!(given, LAST / PLACES);
    }

    #[test]
    fn half_of_the_lists_on_trial_make_way_where_all_their_places_are_in_use() {
        let places = Places::new();
        let [trial, _] = numbers(&places);
        let now_ns = 100 * SECOND_NS;
        let at = |count: usize| -> Vec<Use> {
            trial[..count]
                .iter()
                .zip(1..)
                .map(|(&number, second)| on_trial(number, second * SECOND_NS))
                .collect()
        };
        assert_eq!(places.look(now_ns, &at(TRIAL_PLACES as usize - 1)), [0_u32; 0]);
        let freed = places.look(now_ns, &at(TRIAL_PLACES as usize));
        assert_eq!(freed, trial[..TRIAL_PLACES as usize / 2]);
        // Those that are used all the time stay.
        let mut busy = at(TRIAL_PLACES as usize);
        for queue in &mut busy {
            queue.used_ns = now_ns - TRIAL_NS + 1;
        }
        assert_eq!(places.look(now_ns, &busy), [0_u32; 0]);
        busy[3].used_ns -= 1;
        assert_eq!(places.look(now_ns, &busy), [trial[3]]);
    }

    #[test]
    fn a_list_that_turns_out_to_be_a_queue_takes_no_place_from_those_on_trial() {
        let mut places = Places::new();
        let [trial, others] = numbers(&places);
        let mut uses: Vec<Use> = trial.iter().map(|&number| on_trial(number, 0)).collect();
        uses[7].is_settled = true;
        places.settle(&uses);
        assert!(places.lacks_trial());
        // One that nobody has is for lists on trial instead, so that there is one free.
        places.put_on_trial(others[0]);
        assert!(!places.lacks_trial());
        assert_eq!(places.look(UNUSED_NS, &uses), [0_u32; 0]);
        // The queue is one of the others now, and stays an hour if their places are in use.
        uses.push(on_trial(others[0], UNUSED_NS));
        let full = uses.iter().copied().chain(others[1..].iter().map(|&number| settled(number, UNUSED_NS)));
        let freed = places.look(UNUSED_NS, &full.collect::<Vec<_>>());
        assert!(freed.contains(&trial[7]) && !freed.contains(&others[0]), "{freed:?}");
    }

    #[test]
    fn where_there_was_no_place_for_trials_the_next_that_is_given_up_is_for_them() {
        let mut places = Places::new();
        let [trial, others] = numbers(&places);
        places.settle(&trial.iter().map(|&number| settled(number, 0)).collect::<Vec<_>>());
        // Nobody is on trial, so nobody makes way for that.
        let all: Vec<Use> = trial.iter().chain(&others).map(|&number| settled(number, UNUSED_NS)).collect();
        assert_eq!(places.look(UNUSED_NS, &all), [0_u32; 0]);
        assert!((0..TRIAL_PLACES as usize).all(|at| places.take_back(others[at]).is_trial));
        assert!(!places.take_back(others[TRIAL_PLACES as usize]).is_trial);
    }

    #[test]
    fn a_list_on_trial_gives_its_place_to_another_one_on_trial() {
        let mut places = Places::new();
        let [trial, others] = numbers(&places);
        assert!(places.take_back(trial[0]).is_trial);
        assert!(!places.take_back(others[0]).is_trial);
    }

    #[test]
    fn queues_stay_an_hour_and_those_without_a_name_a_minute_where_there_is_no_place() {
        let places = Places::new();
        let [_, others] = numbers(&places);
        let now_ns = 2 * UNUSED_NS;
        let mut uses: Vec<Use> = others.iter().map(|&number| settled(number, now_ns)).collect();
        assert_eq!(places.look(now_ns, &uses), [0_u32; 0]);
        uses[1].used_ns = now_ns - UNUSED_NS + 1;
        (uses[2].is_other, uses[2].used_ns) = (true, now_ns - OTHER_UNUSED_NS);
        (uses[3].is_other, uses[3].used_ns) = (true, now_ns - OTHER_UNUSED_NS + 1);
        assert_eq!(places.look(now_ns, &uses), [others[2]]);
        uses[1].used_ns -= 1;
        assert_eq!(places.look(now_ns, &uses), [others[1]]);
        // There is one free: nobody has to make way.
        uses.pop();
        assert_eq!(places.look(now_ns, &uses), [0_u32; 0]);
    }
}
