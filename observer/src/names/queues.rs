//! Message queues, which the kernel half tells apart by number, and counts for each process and server: its maps of them as
//! plain data, and the names of its numbers. See [`observer_ebpf::queues`] for the other half.
//!
//! A list is shown once it is known to be a queue: a message was taken out of it, or somebody says so. Until then it is on
//! trial, and what is counted of it is kept. Streams and topics are queues in any case.

mod lag;
mod partitions;
mod places;
mod rates;
mod seen;
mod shown;
mod tick;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::rc::Rc;

use aya::maps::{MapData, MapError, Stack};
use observer_ebpf::layout::names::{CountKey, OTHER};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::queues::layout::{
    OTHER_STREAM, OTHER_TOPIC, PLACES, PartitionKey, QueueCounts, QueueKey, System,
};

use self::lag::{Lag, Lags, Marks};
use self::places::{Free, Places};
use self::rates::Rates;
use self::seen::Seen;
use super::services::{Place, Services};
use crate::kernel::batch;
use crate::kernel::pod::pod;
use crate::ledger::Ledger;
use crate::queues::shown::{Ages, Name};
use crate::queues::{self, Level, Pattern, Row, Rows, Totals};
use crate::recent::Looks;
use crate::snapshot::{Deques, Epochs};

pod! {
    /// [`QueueKey`] as a map's key.
    Key(QueueKey);
    /// [`CountKey`] as a map's key.
    Count(CountKey);
    /// [`QueueCounts`] as a map's value.
    Value(QueueCounts);
}

/// The maps.
pub struct Maps {
    /// Numbers of queues.
    pub queues: MapData,
    /// Numbers that may be given to lists that messages are taken out of, to streams and to topics.
    pub free: Stack<MapData, u32>,
    /// Numbers that may be given to other lists.
    pub free_trial: Stack<MapData, u32>,
    /// What is counted.
    pub counts: MapData,
    /// What is in lists.
    pub deques: Deques,
    /// How far partitions of topics are written, read and acknowledged.
    pub partitions: MapData,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// A queue that has a number.
#[derive(Debug)]
struct Queue {
    row: Row,
    /// The whole name of a list, a stream or a topic, whether it may be a label or not; of a consumer group, that of its
    /// stream or topic.
    name: Rc<[u8]>,
    /// The server, as its key has it; of a consumer group, the numbers of its stream or topic and of its name.
    server: [u64; 3],
    /// Whether it is known to be one.
    is_settled: bool,
    /// What was last seen of a list, or of a consumer group of a stream.
    seen: Option<Seen>,
    /// What was counted of it, and when that last grew, or when it was first seen.
    uses: u64,
    used_ns: u64,
    /// Whom its length is told of, by the number that they have or had; and whether a message had been taken out when that
    /// was decided.
    teller: Option<(u32, Place)>,
    is_told_by_taker: bool,
}

impl Queue {
    /// One that was not seen before.
    const fn new(row: Row, name: Rc<[u8]>, server: [u64; 3], is_settled: bool, now_ns: u64) -> Self {
        Self {
            row,
            name,
            server,
            is_settled,
            seen: None,
            uses: 0,
            used_ns: now_ns,
            teller: None,
            is_told_by_taker: false,
        }
    }
}

/// All queues.
#[derive(Debug)]
pub struct Queues {
    maps: Maps,
    /// By which the kernel half knows that numbers are not to be used any more.
    epochs: Epochs,
    /// Entries that the maps of numbers, of counts and of partitions have room for.
    rooms: [usize; 3],
    /// Names of lists that are queues in any case.
    patterns: Vec<Pattern>,
    places: Places,
    known: HashMap<u32, Queue>,
    /// Names of consumer groups, by number.
    groups: HashMap<u32, Rc<str>>,
    /// What the map of counts holds.
    counted: HashMap<CountKey, QueueCounts>,
    /// What was counted under numbers for processes that are gone.
    gone: HashMap<Place, BTreeMap<u32, QueueCounts>>,
    /// What was counted under numbers that are other queues' now, of rows that are still there.
    left: HashMap<Place, BTreeMap<Row, QueueCounts>>,
    /// What the map of partitions holds, and how far consumers are behind by that.
    partitions: HashMap<PartitionKey, Marks>,
    lags: Lags,
    rates: Rates,
    /// How old what was taken out has been.
    ages: Looks<Name, Ages>,
    /// What has no name of its own: of lists, of streams, and of topics.
    others: [Row; 3],
}

impl Queues {
    /// Takes over the maps, and makes a number free for each place.
    ///
    /// # Errors
    ///
    /// If the maps cannot be looked at or written.
    pub fn new(
        mut maps: Maps,
        epochs: Epochs,
        patterns: Vec<Pattern>,
        now_ns: u64,
    ) -> Result<Self, MapError> {
        let room = |map: &MapData| map.info().map(|info| info.max_entries() as usize);
        let rooms = [room(&maps.queues)?, room(&maps.counts)?, room(&maps.partitions)?];
        let places = Places::new();
        for free in places.all() {
            maps.push(free)?;
        }
        Ok(Self {
            maps,
            epochs,
            rooms,
            patterns,
            places,
            known: HashMap::new(),
            groups: HashMap::new(),
            counted: HashMap::new(),
            gone: HashMap::new(),
            left: HashMap::new(),
            partitions: HashMap::new(),
            lags: Lags::default(),
            rates: Rates::new(now_ns),
            ages: Looks::new(now_ns),
            others: [System::RedisList, System::RedisStream, System::KafkaTopic].map(Row::other),
        })
    }

    /// Brings the counts up to date, and what is in lists.
    pub(super) fn collect(
        &mut self,
        services: &mut Services,
        ledger: &mut Ledger,
        now_ns: u64,
    ) -> io::Result<()> {
        let entries: Vec<(Count, Value)> = batch::read(&self.maps.counts, self.rooms[1])?;
        self.counted = entries.into_iter().map(|(Count(key), Value(counts))| (key, counts)).collect();
        // Afterwards: whatever is counted under a number was given that number before.
        self.learn_new(&self.counted.keys().map(|key| key.name).collect(), now_ns)?;
        self.read_partitions()?;
        self.learn_new(&self.partitions.keys().map(|key| key.queue).collect(), now_ns)?;
        self.look_into(now_ns)?;
        let told = self.known.values().filter_map(|queue| queue.seen.as_ref().map(|seen| seen.service));
        let told = told.chain(self.partitions.keys().map(|key| key.service));
        services.learn(&self.counted.keys().map(|key| key.service).chain(told).collect(), ledger)?;
        self.find_tellers(services);
        // Counts that belong to nobody, or to a queue that has given up its place since they were counted.
        let stray = |key: &CountKey| {
            services.place(key.service).is_none() || (key.name >= PLACES && !self.places_has(key.name))
        };
        let stray: Vec<CountKey> = self.counted.keys().copied().filter(stray).collect();
        self.take_out(&stray, services)?;
        self.take_out_stray_partitions(services)?;
        self.compare_offsets(services, now_ns);
        Ok(())
    }

    /// Reads which queues have numbers, where one of these is not known.
    fn learn_new(&mut self, numbers: &HashSet<u32>, now_ns: u64) -> io::Result<()> {
        if numbers.iter().any(|&number| self.is_new(number)) {
            let entries = self.read_queues()?;
            self.learn(&entries, now_ns);
        }
        Ok(())
    }

    /// Whether a number is that of a queue now, or may be soon.
    fn places_has(&self, number: u32) -> bool {
        number >= PLACES && self.places.has(number)
    }

    /// Whether a number is that of a queue of which nothing is known yet.
    fn is_new(&self, number: u32) -> bool {
        self.places_has(number) && !self.known.contains_key(&number)
    }

    /// All keys of queues, with their numbers.
    fn read_queues(&self) -> io::Result<Vec<(QueueKey, u32)>> {
        let entries: Vec<(Key, u64)> = batch::read(&self.maps.queues, self.rooms[0])?;
        Ok(entries.into_iter().map(|(Key(key), number)| (key, number as u32)).collect())
    }

    /// Takes note of what numbers stand for.
    fn learn(&mut self, entries: &[(QueueKey, u32)], now_ns: u64) {
        for (key, number) in entries {
            if !self.is_new(*number) {
                continue;
            }
            if key.system == System::Group as u32 {
                self.groups.entry(*number).or_insert_with(|| queues::label(queues::name(key)));
            }
            let Some(row) = Row::of(key) else { continue };
            let name = queues::name(key);
            let is_settled =
                row.system != System::RedisList || self.patterns.iter().any(|pattern| pattern.matches(name));
            let server = [key.server[0], key.server[1], u64::from(key.port) | u64::from(key.netns) << 32];
            self.known.insert(*number, Queue::new(row, name.into(), server, is_settled, now_ns));
        }
        // Their streams, their topics and their names are known by now.
        let is_group = |key: &QueueKey| {
            matches!(System::from_u32(key.system), Some(System::StreamGroup | System::TopicGroup))
        };
        for (key, number) in entries.iter().filter(|(key, _)| is_group(key)) {
            let [queue, group] = key.server.map(|number| number as u32);
            if !self.is_new(*number) {
                continue;
            }
            if let (Some(queue), Some(group)) = (self.known.get(&queue), self.groups.get(&group)) {
                let (row, name) = (Row::of_group(&queue.row, group), Rc::clone(&queue.name));
                let server = [key.server[0], key.server[1], 0];
                self.known.insert(*number, Queue::new(row, name, server, true, now_ns));
            }
        }
    }

    /// Looks at what is in each list, and in each stream for its groups. Where it is written all the time, it is what it was.
    fn look_into(&mut self, now_ns: u64) -> io::Result<()> {
        for (&number, queue) in &mut self.known {
            let is_list = queue.row.system == System::RedisList;
            let is_of_stream = queue.row.system == System::RedisStream && !queue.row.group.is_empty();
            if !is_list && !is_of_stream {
                continue;
            }
            // A group before its stream: what is added meanwhile waits.
            let Some(deque) = self.maps.deques.read(number)? else { continue };
            let seen = if is_list {
                Seen::of(&deque, queue.seen.as_ref(), now_ns)
            } else {
                let Some(stream) = self.maps.deques.read(queue.server[0] as u32)? else { continue };
                Seen::of_group(&deque, &stream, now_ns)
            };
            queue.is_settled |= seen.is_taken;
            queue.seen = Some(seen);
        }
        // The other lists of a queue, as those of its other priorities, are it as well.
        let settled = self.known.values().filter(|queue| queue.is_settled && !queue.row.is_other());
        let settled: HashSet<(Row, [u64; 3])> =
            settled.map(|queue| (queue.row.clone(), queue.server)).collect();
        for queue in self.known.values_mut().filter(|queue| !queue.is_settled) {
            queue.is_settled = settled.contains(&(queue.row.clone(), queue.server));
        }
        Ok(())
    }

    /// Takes note of whom the lengths of lists are told of, which stays known when that process has ended.
    fn find_tellers(&mut self, services: &Services) {
        for (number, queue) in &mut self.known {
            let Some(seen) = &queue.seen else { continue };
            let is_there = |(service, _): &(u32, Place)| services.place(*service).is_some();
            if queue.teller.as_ref().is_some_and(is_there) && seen.is_taken == queue.is_told_by_taker {
                continue;
            }
            // Once the first has ended, it is told of the one that has taken most.
            let takers = self.counted.iter().filter(|(key, _)| key.name == *number);
            let there = takers.filter(|(key, _)| services.place(key.service).is_some());
            let next = there.max_by_key(|(key, counts)| (counts.taken, Reverse(key.service)));
            let first = services.place(seen.service).map(|_| seen.service);
            let service = first.or(next.map(|(key, _)| key.service));
            if let Some((service, place)) =
                service.and_then(|service| Some((service, services.place(service)?.clone())))
            {
                queue.teller = Some((service, place));
                queue.is_told_by_taker = seen.is_taken;
            }
        }
    }

    /// Removes entries from the map of counts, and keeps what they counted for whoever they are of.
    fn take_out(&mut self, keys: &[CountKey], services: &Services) -> io::Result<()> {
        let pods: Vec<Count> = keys.iter().copied().map(Count).collect();
        let (removed, outcome) = batch::remove(&self.maps.counts, &pods);
        for key in &keys[..removed] {
            let Some(counts) = self.counted.remove(key) else { continue };
            let Some(place) = services.place(key.service) else { continue };
            let number = match place.protocol {
                _ if key.name < PLACES || self.places_has(key.name) => key.name,
                Protocol::Kafka => OTHER_TOPIC,
                _ => OTHER,
            };
            *self.gone.entry(place.clone()).or_default().entry(number).or_default() += counts;
        }
        outcome
    }

    /// Takes note that nothing is counted any more for these services.
    pub(super) fn retire(
        &mut self,
        numbers: &HashSet<u32>,
        services: &Services,
        now_ns: u64,
    ) -> io::Result<()> {
        let theirs: Vec<CountKey> =
            self.counted.keys().copied().filter(|key| numbers.contains(&key.service)).collect();
        // What was in a server's lists is over with it; the next one begins anew.
        for queue in self.known.values_mut() {
            let is_over = |(service, place): &mut (u32, Place)| {
                place.group.role == Role::Server && numbers.contains(service)
            };
            queue.teller.take_if(is_over);
        }
        self.take_out_partitions_where(|key| numbers.contains(&key.service))?;
        self.compare_offsets(services, now_ns);
        self.take_out(&theirs, services)
    }

    /// Forgets what was counted for processes that are gone, but for these.
    pub(super) fn retain_gone(&mut self, mut keep: impl FnMut(&Place) -> bool) {
        self.gone.retain(|place, _| keep(place));
        self.left.retain(|place, _| keep(place));
        for queue in self.known.values_mut() {
            queue.teller.take_if(|(_, place)| !keep(place));
        }
    }

    /// The row of a number, if it is shown.
    fn row(&self, number: u32) -> Option<&Row> {
        if number < PLACES {
            let place = match number {
                OTHER_STREAM => 1,
                OTHER_TOPIC => 2,
                _ => 0,
            };
            return Some(&self.others[place]);
        }
        self.known.get(&number).filter(|queue| queue.is_settled).map(|queue| &queue.row)
    }

    /// All that is counted under numbers.
    fn counts<'a>(&'a self, services: &'a Services) -> impl Iterator<Item = (&'a Place, u32, QueueCounts)> {
        let gone = self
            .gone
            .iter()
            .flat_map(|(place, counts)| counts.iter().map(move |(&number, &counts)| (place, number, counts)));
        let counted = self
            .counted
            .iter()
            .filter_map(|(key, &counts)| Some((services.place(key.service)?, key.name, counts)));
        gone.chain(counted)
    }

    /// Adds all queues that are shown, as they are now.
    pub(super) fn fill(&self, services: &Services, now_ns: u64, all: &mut Rows) {
        for (place, number, counts) in self.counts(services) {
            if let Some(row) = self.row(number) {
                totals(all, place, row).counts += counts;
            }
        }
        for (place, rows) in &self.left {
            for (row, &counts) in rows {
                totals(all, place, row).counts += counts;
            }
        }
        self.rates.for_each(|place, number, rates| {
            let Some(row) = self.row(number) else { return };
            for (sum, rate) in totals(all, place, row).rates.iter_mut().zip(rates) {
                *sum += rate;
            }
        });
        for queue in self.known.values().filter(|queue| queue.is_settled) {
            let (Some(seen), Some((_, place))) = (&queue.seen, &queue.teller) else { continue };
            if let Some(level) = seen.level(place.group.role, now_ns) {
                totals(all, place, &queue.row).level.get_or_insert_default().add(level);
            }
        }
        for Lag { place, row, messages } in &self.lags.rows {
            let level = Level { messages: *messages, oldest_ns: None };
            totals(all, place, row).level.get_or_insert_default().add(level);
        }
    }
}

impl Maps {
    /// Makes a number free.
    fn push(&mut self, free: Free) -> Result<(), MapError> {
        let stack = if free.is_trial { &mut self.free_trial } else { &mut self.free };
        stack.push(free.number, 0)
    }
}

/// What there is of a row.
fn totals<'a>(all: &'a mut Rows, place: &Place, row: &Row) -> &'a mut Totals {
    let server = (place.group.clone(), Rc::clone(&place.server));
    all.entry(server).or_default().entry(row.clone()).or_default()
}
