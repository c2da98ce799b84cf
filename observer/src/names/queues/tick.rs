//! What is looked at once a second: how fast queues are worked off, and which give up their places to others.

use std::collections::{HashMap, HashSet};
use std::io;

use aya::maps::MapError;
use observer_ebpf::layout::names::CountKey;
use observer_ebpf::queues::layout::{QueueCounts, QueueKey, System};

use super::places::Use;
use super::seen::Seen;
use super::{Count, Key, Queue, Queues};
use crate::kernel::batch;
use crate::ledger::Ledger;
use crate::names::services::{Place, Services};

impl Queues {
    /// Looks at all queues, if there are any.
    pub(in crate::names) fn tick(
        &mut self,
        services: &mut Services,
        ledger: &mut Ledger,
        now_ns: u64,
    ) -> io::Result<()> {
        self.rates.tick(now_ns);
        let entries = self.read_queues()?;
        let has_counts = !self.counted.is_empty() || !self.partitions.is_empty();
        if entries.is_empty() && !has_counts && self.rates.is_empty() {
            return Ok(());
        }
        self.learn(&entries, now_ns);
        self.collect(services, ledger, now_ns)?;
        self.note_uses(now_ns);
        self.free_places(&entries, services, now_ns)?;
        self.sample(services);
        Ok(())
    }

    /// Takes note of which queues were used since the last look.
    fn note_uses(&mut self, now_ns: u64) {
        let mut uses: HashMap<u32, u64> = HashMap::new();
        for (key, counts) in &self.counted {
            *uses.entry(key.name).or_default() += counts.put + counts.taken + counts.acknowledged;
        }
        for (number, queue) in &mut self.known {
            let uses = uses.get(number).copied().unwrap_or_default();
            if uses > queue.uses {
                queue.used_ns = now_ns;
            }
            // It is fewer once a process is gone.
            queue.uses = uses;
            let is_list = queue.row.system == System::RedisList;
            if let Some(seen) = queue.seen.as_ref().filter(|_| is_list) {
                queue.used_ns = seen.used_ns();
            }
            // A consumer that is stuck counts nothing, and somebody wants to know.
            let is_behind = !is_list && queue.seen.as_ref().is_some_and(Seen::has_any);
            if is_behind || self.lags.waiting.contains(number) {
                queue.used_ns = now_ns;
            }
        }
        // A stream or a topic is used while a group of it is.
        let groups = self.known.values().filter(|queue| !queue.row.group.is_empty());
        let by_groups: Vec<(u32, u64)> =
            groups.map(|queue| (queue.server[0] as u32, queue.used_ns)).collect();
        for (number, used_ns) in by_groups {
            if let Some(queue) = self.known.get_mut(&number) {
                queue.used_ns = queue.used_ns.max(used_ns);
            }
        }
    }

    /// Has queues give up their places, of those in `entries`: see [`super::places`].
    fn free_places(
        &mut self,
        entries: &[(QueueKey, u32)],
        services: &Services,
        now_ns: u64,
    ) -> io::Result<()> {
        let numbers: HashSet<u32> = entries.iter().map(|&(_, number)| number).collect();
        let uses: Vec<Use> = numbers.iter().filter_map(|&number| self.use_of(number)).collect();
        self.places.settle(&uses);
        self.fill_up_trial()?;
        // Numbers that were taken back while the kernel half was looking at them stand for nothing.
        let stale = numbers.iter().copied().filter(|&number| !self.places_has(number));
        let stale: Vec<Key> = stale.flat_map(|number| keys(entries, number)).collect();
        batch::remove(&self.maps.queues, &stale).1?;
        let leaving = self.places.look(now_ns, &uses);
        let has_any = !leaving.is_empty();
        for number in leaving {
            // A group goes with its stream or topic, and with its name.
            let is_of =
                |queue: &Queue| !queue.row.group.is_empty() && queue.server[..2].contains(&u64::from(number));
            let groups = self.known.iter().filter(|(_, queue)| is_of(queue));
            let groups: Vec<u32> = groups.map(|(&number, _)| number).collect();
            for group in groups {
                self.give_up(group, entries, services)?;
            }
            self.give_up(number, entries, services)?;
        }
        if has_any {
            // Last: whoever keeps a number looks again from here on.
            self.epochs.advance();
        }
        Ok(())
    }

    fn use_of(&self, number: u32) -> Option<Use> {
        if self.groups.contains_key(&number) && self.places_has(number) {
            let of_name = self
                .known
                .values()
                .filter(|queue| !queue.row.group.is_empty() && queue.server[1] == u64::from(number));
            // One that no group has yet is about to be one's.
            let used_ns = of_name.map(|queue| queue.used_ns).max().unwrap_or(u64::MAX);
            return Some(Use { number, used_ns, is_settled: true, is_other: false });
        }
        let queue = self.known.get(&number).filter(|_| self.places_has(number))?;
        Some(Use {
            number,
            used_ns: queue.used_ns,
            is_settled: queue.is_settled,
            is_other: queue.row.is_other(),
        })
    }

    /// Gives lists on trial as many places as they should have, as far as any are free.
    fn fill_up_trial(&mut self) -> io::Result<()> {
        while self.places.lacks_trial() {
            match self.maps.free.pop(0) {
                Ok(number) => {
                    self.places.put_on_trial(number);
                    self.maps.free_trial.push(number, 0).map_err(io::Error::other)?;
                }
                Err(MapError::ElementNotFound) => return Ok(()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }

    /// Takes a queue's place away from it, and gives it to whoever comes next.
    fn give_up(&mut self, number: u32, entries: &[(QueueKey, u32)], services: &Services) -> io::Result<()> {
        batch::remove(&self.maps.queues, &keys(entries, number).collect::<Vec<_>>()).1?;
        if self.groups.remove(&number).is_some() {
            return self.maps.push(self.places.take_back(number)).map_err(io::Error::other);
        }
        let Some(queue) = self.known.remove(&number) else { return Ok(()) };
        let row = queue.row;
        // Other lists of the same queue may have places, and what has no name of its own always has its row. Rows do not
        // decrease.
        let is_same = |other: &Queue| other.is_settled && other.row == row;
        let stays = queue.is_settled && (self.others.contains(&row) || self.known.values().any(is_same));
        let mut kept: Vec<(Place, QueueCounts)> = Vec::new();
        for (place, counts) in &mut self.gone {
            kept.extend(counts.remove(&number).map(|counts| (place.clone(), counts)));
        }
        let theirs: Vec<CountKey> = self.counted.keys().copied().filter(|key| key.name == number).collect();
        for key in &theirs {
            let counts = self.counted.remove(key);
            kept.extend(
                counts.zip(services.place(key.service)).map(|(counts, place)| (place.clone(), counts)),
            );
        }
        if stays {
            for (place, counts) in kept {
                *self.left.entry(place).or_default().entry(row.clone()).or_default() += counts;
            }
        } else {
            self.left.values_mut().for_each(|rows| _ = rows.remove(&row));
        }
        self.rates.forget(number);
        let outcome = batch::remove(&self.maps.counts, &theirs.into_iter().map(Count).collect::<Vec<_>>()).1;
        let outcome = outcome.and(self.take_out_partitions_where(|key| key.queue == number));
        // Last: nothing stands for the number that the place had.
        self.maps.push(self.places.take_back(number)).map_err(io::Error::other)?;
        outcome
    }

    /// Takes a second's sample of all that is counted.
    fn sample(&mut self, services: &Services) {
        let mut sums: HashMap<&Place, HashMap<u32, [u64; 3]>> = HashMap::new();
        for (place, number, counts) in self.counts(services) {
            let sum = sums.entry(place).or_default().entry(number).or_default();
            sum[0] += counts.put;
            sum[1] += counts.taken;
            sum[2] += counts.acknowledged;
        }
        let sums = sums.into_iter().map(|(place, sums)| (place.clone(), sums)).collect();
        self.rates.sample(&sums);
    }
}

/// The keys of a number.
fn keys(entries: &[(QueueKey, u32)], number: u32) -> impl Iterator<Item = Key> {
    entries.iter().filter(move |&&(_, other)| other == number).map(|&(key, _)| Key(key))
}
