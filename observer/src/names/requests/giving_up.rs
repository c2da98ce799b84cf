//! Which routes and authorities give up their places to others.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use observer_ebpf::layout::names::CROWDED;
use observer_ebpf::protocols::http::layout::{REQUESTS, RequestKey};

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
            let counted = self.counted.iter().filter(|(key, _)| key.service == service);
            let counted = counted.map(|(key, counts)| (key.route.into(), counts.words[REQUESTS]));
            let places = self.places_of.entry(service).or_insert_with(|| Places::new(self.max_routes));
            let freed = places.look(now_ns, theirs.map(|&(_, number)| number as u32), counted);
            let freed: HashSet<u32> = freed.into_iter().collect();
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
        let present = || all.iter().map(|&(_, number)| number as u32);
        let counted = self.counted.iter().map(|(key, counts)| (key.authority.into(), counts.words[REQUESTS]));
        let freed: HashSet<u32> = self.places.look(now_ns, present(), counted).into_iter().collect();
        let used: HashSet<u32> = present().collect();
        for (name, number) in all.iter().filter(|(_, number)| freed.contains(&(*number as u32))) {
            let number = *number as u32;
            batch::remove(&self.maps.authorities, &[*name]).1?;
            self.authorities.remove(&number);
            self.forget(|row| u32::from(row.authority) == number)?;
            let text = name.text();
            self.gone.values_mut().for_each(|rows| rows.retain(|row, _| row.authority != text));
            self.authority_numbers.free(&mut self.maps.free_authorities, |number| used.contains(&number))?;
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
