//! How many messages are put in, taken out and acknowledged a second, over the last ten seconds.

use std::collections::HashMap;

use crate::names::services::Place;
use crate::rates::{SECONDS, Ticks, Window};

/// Messages put in, taken out and acknowledged so far, by whom and by the number of the queue.
pub(super) type Sums = HashMap<Place, HashMap<u32, [u64; 3]>>;

/// The same, a second at a time.
#[derive(Debug)]
pub(super) struct Rates {
    ticks: Ticks,
    tracks: HashMap<Place, HashMap<u32, Track>>,
}

/// What was counted lately under a number.
#[derive(Debug, Default)]
struct Track {
    /// None while nothing moves.
    window: Option<Box<Window>>,
    last: [u64; 3],
    /// Ticks that it was there at, as far as they matter to a window.
    ticks: u8,
}

impl Rates {
    /// The first tick is `now_ns`.
    pub(super) fn new(now_ns: u64) -> Self {
        Self { ticks: Ticks::new(now_ns), tracks: HashMap::new() }
    }

    /// Whether there is nothing to go on with.
    pub(super) fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// Takes note that a second is over. To be followed by [`Rates::sample`], unless there is nothing.
    pub(super) const fn tick(&mut self, now_ns: u64) {
        self.ticks.push(now_ns);
    }

    /// Takes a sample. What is not in it is forgotten.
    pub(super) fn sample(&mut self, sums: &Sums) {
        self.tracks.retain(|place, tracks| {
            let sums = sums.get(place);
            tracks.retain(|number, _| sums.is_some_and(|sums| sums.contains_key(number)));
            !tracks.is_empty()
        });
        for (place, sums) in sums {
            if !self.tracks.contains_key(place) {
                self.tracks.insert(place.clone(), HashMap::new());
            }
            let Some(tracks) = self.tracks.get_mut(place) else { continue };
            for (&number, &sum) in sums {
                tracks.entry(number).or_default().push(sum);
            }
        }
    }

    /// Forgets a number, which is another queue's from now on.
    pub(super) fn forget(&mut self, number: u32) {
        for tracks in self.tracks.values_mut() {
            tracks.remove(&number);
        }
    }

    /// Tells all that are not zero.
    pub(super) fn for_each(&self, mut tell: impl FnMut(&Place, u32, [f64; 3])) {
        for (place, tracks) in &self.tracks {
            for (&number, track) in tracks {
                if let Some(window) = &track.window {
                    let [put, taken, acknowledged, _] = window.rates(&self.ticks);
                    tell(place, number, [put, taken, acknowledged]);
                }
            }
        }
    }
}

impl Track {
    fn push(&mut self, sum: [u64; 3]) {
        let wide = |[put, taken, acknowledged]: [u64; 3]| [put, taken, acknowledged, 0];
        if self.window.is_none() && sum != self.last {
            self.window = Some(Box::new(Window::new(self.ticks)));
        }
        if let Some(window) = &mut self.window {
            window.push(&wide(self.last), &wide(sum));
            if window.is_idle() {
                self.window = None;
            }
        }
        self.last = sum;
        self.ticks = self.ticks.saturating_add(1).min(SECONDS as u8);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use observer_ebpf::layout::{Protocol, Role};

    use super::{Rates, Sums};
    use crate::labels::Group;
    use crate::names::services::Place;

    const SECOND: u64 = 1_000_000_000;

    fn told(rates: &Rates) -> Vec<(u32, [f64; 3])> {
        let mut told = Vec::new();
        rates.for_each(|_, number, rate| told.push((number, rate)));
        told
    }

    #[test]
    fn a_rate_is_over_the_last_ten_seconds_and_zero_where_nothing_moves() {
        let group = Group { process: "worker".to_owned(), container: String::new(), role: Role::Client };
        let place = Place { group, server: "10.0.0.7:6379".into(), protocol: Protocol::Redis };
        let mut rates = Rates::new(0);
        let mut now_ns = 0;
        let mut second = |rates: &mut Rates, sum: Option<[u64; 3]>| {
            now_ns += SECOND;
            rates.tick(now_ns);
            let sums: Sums =
                sum.map(|sum| (place.clone(), HashMap::from([(200, sum)]))).into_iter().collect();
            rates.sample(&sums);
        };
        for at in 1..=20 {
            second(&mut rates, Some([100 * at, 50 * at, 20 * at]));
        }
        assert_eq!(told(&rates), [(200, [100.0, 50.0, 20.0])]);
        for _ in 0..5 {
            second(&mut rates, Some([2000, 1000, 400]));
        }
        assert_eq!(told(&rates), [(200, [50.0, 25.0, 10.0])]);
        for _ in 0..5 {
            second(&mut rates, Some([2000, 1000, 400]));
        }
        assert_eq!(told(&rates), []);
        second(&mut rates, Some([2010, 1000, 400]));
        assert_eq!(told(&rates), [(200, [1.0, 0.0, 0.0])]);
        rates.forget(200);
        assert_eq!(told(&rates), []);
        second(&mut rates, None);
        assert!(rates.is_empty());
    }
}
