//! Which names give up their places: plain data in, numbers out.
//!
//! A place is only taken where names have found none lately. A name that has not been used for an hour gives up its own
//! then. So that a table which has filled with names that came once does not hide one that comes all the time, a name
//! does so after a minute already if it was used a hundredth as often, in all, as others have found no place since; but
//! only a tenth of all places change hands so in ten minutes. Where every name is a new one, as with identifiers in
//! front of keys, there are then no more rows an hour than there would be else.

use std::collections::{HashMap, VecDeque};

use observer_ebpf::layout::names::CROWDED;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;
/// A name that has not been used for so long may give up its place.
const UNUSED_NS: u64 = 3600 * SECOND_NS;
/// So may one that was hardly used at all, and has not been for so long. The uses of names without a place, which it is
/// compared with, are those of the same time.
const HARDLY_USED_NS: u64 = 60 * SECOND_NS;
/// A name was hardly used if those without a place were used so many times as often.
const HARDLY_USED: u64 = 100;
/// At most one of so many places is taken at once from names that were hardly used.
const PART: usize = 10;
/// How long nothing more is taken from names that were hardly used.
const PAUSE_NS: u64 = 600 * SECOND_NS;

/// A name that has a place.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// Counts under it when they were last looked at.
    counted: u64,
    /// How often it was used since it was first looked at.
    uses: u64,
    /// When a look last found it used, or found it.
    last_ns: u64,
}

/// Places of one namespace.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    names: HashMap<u32, Use>,
    /// When looks were in the last minute, and how often names had found no place by then.
    crowded: VecDeque<(u64, u64)>,
    /// When names that were hardly used last gave up places.
    paused_ns: Option<u64>,
    /// What was counted under numbers by processes that are gone, which may be sooner than anybody looks.
    gone: HashMap<u32, u64>,
}

impl Places {
    /// There are `limit` places.
    pub fn new(limit: usize) -> Self {
        Self { limit, names: HashMap::new(), crowded: VecDeque::new(), paused_ns: None, gone: HashMap::new() }
    }

    /// Takes note of what was counted under a number, and is counted there no more as its process is gone.
    pub fn keep(&mut self, number: u32, counted: u64) {
        *self.gone.entry(number).or_default() += counted;
    }

    /// Takes a look: `present` are the numbers of names that have a place, and `counted` what is counted under numbers so
    /// far. Returns the numbers of those that give up theirs.
    pub fn look(
        &mut self,
        now_ns: u64,
        present: impl Iterator<Item = u32>,
        counted: impl Iterator<Item = (u32, u64)>,
    ) -> Vec<u32> {
        let (counted, crowded) = self.add_up(present, counted);
        self.choose(now_ns, &counted, crowded)
    }

    /// Adds up what is and was counted under each name that has a place, and how often names have found none.
    fn add_up(
        &mut self,
        present: impl Iterator<Item = u32>,
        counted: impl Iterator<Item = (u32, u64)>,
    ) -> (HashMap<u32, u64>, u64) {
        let mut sums: HashMap<u32, u64> = present.chain([CROWDED]).map(|number| (number, 0)).collect();
        self.gone.retain(|number, _| sums.contains_key(number));
        for (number, counted) in self.gone.iter().map(|(&number, &counted)| (number, counted)).chain(counted)
        {
            // Other numbers are of what has no name, or of names that have given up their places.
            if let Some(sum) = sums.get_mut(&number) {
                *sum += counted;
            }
        }
        let crowded = sums.remove(&CROWDED).unwrap_or_default();
        (sums, crowded)
    }

    /// The numbers of names that give up their places, where `counted` is what is counted under each that has one, and
    /// `crowded` how often names have found none.
    fn choose(&mut self, now_ns: u64, counted: &HashMap<u32, u64>, crowded: u64) -> Vec<u32> {
        self.names.retain(|number, _| counted.contains_key(number));
        for (&number, &counted) in counted {
            let seen = self.names.entry(number).or_insert(Use { counted: 0, uses: 0, last_ns: now_ns });
            if counted > seen.counted {
                seen.uses += counted - seen.counted;
                seen.last_ns = now_ns;
            }
            // It is fewer once a process is gone.
            seen.counted = counted;
        }
        let homeless = self.homeless(now_ns, crowded);
        if homeless == 0 {
            return Vec::new();
        }
        let unused_for = |seen: &Use| now_ns.saturating_sub(seen.last_ns);
        let long: Vec<u32> = self
            .names
            .iter()
            .filter(|(_, seen)| unused_for(seen) >= UNUSED_NS)
            .map(|(&number, _)| number)
            .collect();
        if !long.is_empty() {
            return long;
        }
        if self.paused_ns.is_some_and(|paused_ns| now_ns.saturating_sub(paused_ns) < PAUSE_NS) {
            return Vec::new();
        }
        let mut hardly: Vec<(u64, u32)> = self
            .names
            .iter()
            .filter(|(_, seen)| unused_for(seen) >= HARDLY_USED_NS)
            .filter(|(_, seen)| seen.uses.saturating_mul(HARDLY_USED) <= homeless)
            .map(|(&number, seen)| (seen.uses, number))
            .collect();
        hardly.sort_unstable();
        hardly.truncate((self.limit / PART).max(1));
        if !hardly.is_empty() {
            self.paused_ns = Some(now_ns);
        }
        hardly.into_iter().map(|(_, number)| number).collect()
    }

    /// How often names have found no place in the last minute.
    fn homeless(&mut self, now_ns: u64, crowded: u64) -> u64 {
        while self.crowded.get(1).is_some_and(|(at_ns, _)| at_ns + HARDLY_USED_NS <= now_ns) {
            self.crowded.pop_front();
        }
        let before = self.crowded.front().map_or(0, |&(_, before)| before);
        self.crowded.push_back((now_ns, crowded));
        crowded.saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use observer_ebpf::layout::names::{CROWDED, OTHER};
    use observer_ebpf::protocols::http::layout::UNMATCHED;

    use super::{HARDLY_USED_NS, PAUSE_NS, Places, SECOND_NS, UNUSED_NS};

    /// Looks every ten seconds from one time to another, with the same counts; tells when which names gave up their
    /// places first.
    fn watch(
        places: &mut Places,
        (from_ns, to_ns): (u64, u64),
        counted: impl Fn(u64) -> Vec<(u32, u64)>,
        crowded: impl Fn(u64) -> u64,
    ) -> Option<(u64, Vec<u32>)> {
        let mut now_ns = from_ns;
        while now_ns <= to_ns {
            let counted: HashMap<u32, u64> = counted(now_ns).into_iter().collect();
            let mut freed = places.choose(now_ns, &counted, crowded(now_ns));
            freed.sort_unstable();
            if !freed.is_empty() {
                return Some((now_ns, freed));
            }
            now_ns += 10 * SECOND_NS;
        }
        None
    }

    const DAY_NS: u64 = 24 * 3600 * SECOND_NS;

    #[test]
    fn only_names_without_a_place_want_one() {
        // Several rows of a name; what has no name; and a name that has given up its place since.
        let rows =
            [(7, 5), (8, 1), (7, 2), (UNMATCHED, 100), (OTHER, 200), (CROWDED, 3), (CROWDED, 4), (10, 1)];
        let mut places = Places::new(3);
        let sums = places.add_up([7, 8, 9].into_iter(), rows.into_iter());
        assert_eq!(sums, (HashMap::from([(7, 7), (8, 1), (9, 0)]), 7));
        // Of processes that are gone it is the same, until a name has given up its place.
        for (number, counted) in rows {
            places.keep(number, counted);
        }
        let sums = places.add_up([7, 9].into_iter(), [(7, 1), (9, 2), (CROWDED, 1)].into_iter());
        assert_eq!(sums, (HashMap::from([(7, 8), (9, 2)]), 8));
        let sums = places.add_up([7, 8].into_iter(), [].into_iter());
        assert_eq!(sums, (HashMap::from([(7, 7), (8, 0)]), 7));
    }

    #[test]
    fn nothing_is_taken_that_nobody_wants() {
        let freed = watch(&mut Places::new(3), (0, DAY_NS), |_| vec![(3, 1), (4, 1), (5, 1)], |_| 7);
        assert_eq!(freed, None, "the last that found no place did so a day ago");
    }

    #[test]
    fn an_hour_without_use_gives_a_place_to_who_finds_none() {
        // One that is used all the time, and two that were used a lot.
        let counted = |now_ns| vec![(3, 1_000_000 + now_ns), (4, 1_000_000), (5, 1_000_000)];
        let freed = watch(&mut Places::new(3), (0, DAY_NS), counted, |now_ns| now_ns / SECOND_NS / 10);
        assert_eq!(freed, Some((UNUSED_NS, vec![4, 5])));
    }

    #[test]
    fn names_that_came_once_make_way_within_two_minutes_for_one_that_comes_all_the_time() {
        let mut places = Places::new(100);
        let counted = |_| (3..103).map(|number| (number, 1)).collect();
        let crowded = |now_ns| 1000 * now_ns / SECOND_NS;
        let freed = watch(&mut places, (0, DAY_NS), counted, crowded);
        let (at_ns, freed) = freed.expect("some give up their places");
        assert_eq!((at_ns, freed.len()), (HARDLY_USED_NS, 10));
        let counted =
            |_| (3..113).filter(|number| !freed.contains(number)).map(|number| (number, 1)).collect();
        let again = watch(&mut places, (at_ns + 10 * SECOND_NS, DAY_NS), counted, crowded);
        let (at_ns, again) = again.expect("some more do");
        assert_eq!((at_ns, again.len()), (HARDLY_USED_NS + PAUSE_NS, 10));
    }

    #[test]
    fn names_that_are_used_keep_their_places_whoever_comes() {
        let counted = |now_ns| (3..103).map(|number| (number, now_ns / SECOND_NS / 30)).collect();
        let freed = watch(&mut Places::new(100), (0, DAY_NS), counted, |now_ns| now_ns);
        assert_eq!(freed, None);
    }

    #[test]
    fn names_that_were_used_more_than_a_little_stay_an_hour() {
        let counted = |_| vec![(3, 1000), (4, 1)];
        let mut places = Places::new(2);
        let crowded = |now_ns| now_ns / SECOND_NS * 10;
        let freed = watch(&mut places, (0, DAY_NS), counted, crowded);
        assert_eq!(freed, Some((HARDLY_USED_NS, vec![4])));
        let freed =
            watch(&mut places, (HARDLY_USED_NS, DAY_NS), |now_ns| vec![(3, 1000), (5, now_ns)], crowded);
        assert_eq!(freed, Some((UNUSED_NS, vec![3])));
    }
}
