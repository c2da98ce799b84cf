//! Which routes and authorities give up their places to others.

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;

use observer_ebpf::layout::names::CROWDED;
use observer_ebpf::protocols::http::layout::{REQUESTS, RequestCounts, RequestKey};

use super::{Requests, Route, text};
use crate::kernel::batch;
use crate::names::namespace::NameKey;
use crate::names::places::Places;
use crate::names::services::{Place, Services};

impl Requests {
    /// Has routes and authorities give up their places where others find none: see [`Places`].
    pub(in crate::names) fn free_places(&mut self, now_ns: u64, services: &Services) -> io::Result<()> {
        self.free_old_routes(now_ns, services)?;
        self.free_old_authorities(now_ns)
    }

    fn free_old_routes(&mut self, now_ns: u64, services: &Services) -> io::Result<()> {
        let crowded: HashSet<u32> = self
            .counted
            .keys()
            .filter(|key| u32::from(key.route) == CROWDED)
            .map(|key| key.service)
            .collect();
        if crowded.is_empty() {
            return Ok(());
        }
        let all: Vec<(Route, u64)> = batch::read(&self.maps.routes, self.rooms[0])?;
        let mut over: Vec<(Route, u64)> = Vec::new();
        for &service in &crowded {
            let theirs = all.iter().filter(|(Route(key), _)| key.service == service);
            let mut uses: HashMap<u32, u64> = theirs.map(|&(_, number)| (number as u32, 0)).collect();
            let theirs = self.counted.iter().filter(|(key, _)| key.service == service);
            let homeless = tally(&mut uses, theirs.map(|(key, counts)| (key.route, counts)));
            let places = self.places_of.entry(service).or_insert_with(|| Places::new(self.max_routes));
            let freed: HashSet<u32> = places.look(now_ns, &uses, homeless).into_iter().collect();
            over.extend(all.iter().filter(|&&(_, number)| freed.contains(&(number as u32))));
        }
        if over.is_empty() {
            return Ok(());
        }
        self.give_up(&over, &all, services)?;
        self.remove_routes(&over, &all)?;
        self.count_routes(&crowded)
    }

    /// Has the rows go of routes that give up their places, of `all` that there are. Where another process whose rows are
    /// the same ones has such a route still, they stay, and what they have counted: rows do not decrease.
    fn give_up(
        &mut self,
        over: &[(Route, u64)],
        all: &[(Route, u64)],
        services: &Services,
    ) -> io::Result<()> {
        let freed: HashSet<u64> = over.iter().map(|&(_, number)| number).collect();
        let staying: HashSet<(&Place, Rc<str>)> = all
            .iter()
            .filter(|(_, number)| !freed.contains(number))
            .filter_map(|(Route(key), _)| Some((services.place(key.service)?, text(key))))
            .collect();
        for (Route(key), number) in over {
            let is_it = |row: &RequestKey| u64::from(row.route) == *number;
            let text = text(key);
            let Some(place) = services.place(key.service) else {
                self.forget(is_it)?;
                continue;
            };
            if staying.contains(&(place, Rc::clone(&text))) {
                let keys: Vec<RequestKey> = self.counted.keys().copied().filter(is_it).collect();
                self.take_out(&keys, services)?;
                continue;
            }
            self.forget(is_it)?;
            if let Some(rows) = self.gone.get_mut(place) {
                rows.retain(|row, _| row.route != text);
            }
        }
        Ok(())
    }

    /// Has the kernel half know how many routes these services have.
    fn count_routes(&mut self, services: &HashSet<u32>) -> io::Result<()> {
        let all: Vec<(Route, u64)> = batch::read(&self.maps.routes, self.rooms[0])?;
        for service in services {
            let count = all.iter().filter(|(Route(key), _)| key.service == *service).count() as u64;
            self.maps.routes_of.insert(service, count, 0).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn free_old_authorities(&mut self, now_ns: u64) -> io::Result<()> {
        let all: Vec<(NameKey, u64)> = batch::read(&self.maps.authorities, self.rooms[1])?;
        // Processes may be gone sooner than anybody looks.
        let gone_uses = |number: u32| self.gone_uses.get(&number).copied().unwrap_or_default();
        let numbers = all.iter().map(|&(_, number)| number as u32);
        let mut uses: HashMap<u32, u64> = numbers.map(|number| (number, gone_uses(number))).collect();
        let homeless = gone_uses(CROWDED)
            + tally(&mut uses, self.counted.iter().map(|(key, counts)| (key.authority, counts)));
        let freed: HashSet<u32> = self.places.look(now_ns, &uses, homeless).into_iter().collect();
        for (name, number) in all.iter().filter(|(_, number)| freed.contains(&(*number as u32))) {
            let number = *number as u32;
            batch::remove(&self.maps.authorities, &[*name]).1?;
            self.authorities.remove(&number);
            self.gone_uses.remove(&number);
            self.forget(|row| u32::from(row.authority) == number)?;
            let text = name.text();
            self.gone.values_mut().for_each(|rows| rows.retain(|row, _| row.authority != text));
            let number = self.authority_numbers.next(|number| uses.contains_key(&number));
            self.maps.free_authorities.push(number, 0).map_err(io::Error::other)?;
            self.epochs[1].advance();
        }
        Ok(())
    }

    /// Forgets all that is counted under these.
    fn forget(&mut self, is_it: impl Fn(&RequestKey) -> bool) -> io::Result<()> {
        let keys: Vec<RequestKey> = self.counted.keys().copied().filter(is_it).collect();
        for key in &keys {
            self.counted.remove(key);
        }
        self.remove_counts(&keys).1
    }
}

/// Adds up how often names were used, by their numbers, and tells how often others found no place.
fn tally<'a>(uses: &mut HashMap<u32, u64>, counted: impl Iterator<Item = (u16, &'a RequestCounts)>) -> u64 {
    let mut homeless = 0;
    for (number, counts) in counted {
        if u32::from(number) == CROWDED {
            homeless += counts.words[REQUESTS];
        } else if let Some(sum) = uses.get_mut(&number.into()) {
            *sum += counts.words[REQUESTS];
        }
    }
    homeless
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use observer_ebpf::layout::names::{CROWDED, OTHER};
    use observer_ebpf::protocols::http::layout::{REQUESTS, RequestCounts, UNMATCHED};

    use super::tally;

    #[test]
    fn only_names_without_a_place_want_one() {
        let mut uses = HashMap::from([(7, 0), (8, 0), (9, 0)]);
        // Several rows of a name; what has no name; and a name that has given up its place since.
        let rows =
            [(7, 5), (8, 1), (7, 2), (UNMATCHED, 100), (OTHER, 200), (CROWDED, 3), (CROWDED, 4), (10, 1)];
        let rows = rows.map(|(number, requests)| {
            let mut counts = RequestCounts::default();
            counts.words[REQUESTS] = requests;
            (number as u16, counts)
        });
        let homeless = tally(&mut uses, rows.iter().map(|(number, counts)| (*number, counts)));
        assert_eq!((homeless, uses), (7, HashMap::from([(7, 7), (8, 1), (9, 0)])));
    }
}
