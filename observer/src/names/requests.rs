//! HTTP's requests, which the kernel half counts by route, authority, method and status, for each process and server: its
//! maps of them as plain data, and the texts of its numbers.

mod ending;
mod giving_up;
mod recent;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::rc::Rc;

use aya::maps::{MapData, MapError, Stack};
use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::{Connection, FLAG_CONTINUED, Phase};
use observer_ebpf::layout::names::{CROWDED, NONE, OTHER};
use observer_ebpf::protocols::http::layout::{
    ENDINGS, Method, REQUESTS, RequestCounts, RequestKey, RouteKey, UNMATCHED,
};

use self::ending::{add_ended, ending};
use super::has_text;
use super::namespace::NameKey;
use super::numbers::Numbers;
use super::places::Places;
use super::services::{Place, Services};
use crate::kernel::batch;
use crate::kernel::pod::pod;
use crate::labels::{Group, Member};
use crate::ledger::Ledger;
use crate::process::Identity;
use crate::protocols::http::{Row, Stream};
use crate::recent::{Looks, Sums};
use crate::routes::Name;
use crate::snapshot::Epochs;

/// The route of requests that have none.
pub const UNMATCHED_ROUTE: &str = "unmatched";

pod! {
    /// [`RouteKey`] as a map's key.
    Route(RouteKey);
    /// [`RequestKey`] as a map's key.
    Key(RequestKey);
    /// [`RequestCounts`] as a map's value.
    Value(RequestCounts);
}

/// The maps.
pub struct Maps {
    /// Numbers of routes.
    pub routes: MapData,
    /// Numbers that may be given to them.
    pub free_routes: Stack<MapData, u32>,
    /// How many routes each process and server has.
    pub routes_of: aya::maps::HashMap<MapData, u32, u64>,
    /// Numbers of authorities.
    pub authorities: MapData,
    /// Numbers that may be given to them.
    pub free_authorities: Stack<MapData, u32>,
    /// What is counted.
    pub counts: MapData,
    /// What has found no room there at once.
    pub spare_counts: MapData,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// What a process and a server have to do with each other, by row.
type Rows = BTreeMap<Row, RequestCounts>;

/// Requests by name.
#[derive(Debug)]
pub struct Requests {
    maps: Maps,
    /// Entries that the maps of routes, authorities, counts and spare counts have room for.
    rooms: [usize; 4],
    /// By which the kernel half knows that numbers of routes, or of authorities, are not to be used any more.
    epochs: [Epochs; 2],
    stream_after_ns: u64,
    routes: HashMap<u32, Rc<str>>,
    authorities: HashMap<u32, Rc<str>>,
    /// What the map of counts holds.
    counted: HashMap<RequestKey, RequestCounts>,
    /// What was counted for processes that are gone, and what connections that are gone had not counted yet.
    gone: HashMap<Place, Rows>,
    /// What ended with connections that are gone, of processes that are there.
    ended: HashMap<Member, Sums>,
    /// Looks at what was counted, for what it was like lately.
    by_process: Looks<Member>,
    by_route: Looks<Name>,
    /// Which authorities give up their places; and which routes, by the number of the process and server.
    places: Places,
    places_of: HashMap<u32, Places>,
    max_routes: usize,
    /// Numbers of routes, and of authorities.
    route_numbers: Numbers,
    authority_numbers: Numbers,
    unmatched: Rc<str>,
    other: Rc<str>,
    none: Rc<str>,
}

impl Requests {
    /// Takes over the maps, in which nothing has been counted by `now_ns`, and makes as many numbers free as there is room
    /// for names.
    ///
    /// # Errors
    ///
    /// If the maps cannot be looked at or written.
    pub fn new(
        mut maps: Maps,
        epochs: [Epochs; 2],
        stream_after_ns: u64,
        max_routes: u32,
        now_ns: u64,
    ) -> Result<Self, MapError> {
        let room = |map: &MapData| map.info().map(|info| info.max_entries() as usize);
        let rooms =
            [room(&maps.routes)?, room(&maps.authorities)?, room(&maps.counts)?, room(&maps.spare_counts)?];
        let route_numbers = Numbers::of(&mut maps.free_routes, rooms[0])?;
        let authority_numbers = Numbers::of(&mut maps.free_authorities, rooms[1])?;
        Ok(Self {
            maps,
            rooms,
            epochs,
            stream_after_ns,
            routes: HashMap::new(),
            authorities: HashMap::new(),
            counted: HashMap::new(),
            gone: HashMap::new(),
            ended: HashMap::new(),
            by_process: Looks::new(now_ns),
            by_route: Looks::new(now_ns),
            places: Places::new(rooms[1]),
            places_of: HashMap::new(),
            max_routes: max_routes as usize,
            route_numbers,
            authority_numbers,
            unmatched: UNMATCHED_ROUTE.into(),
            other: super::OTHER.into(),
            none: "".into(),
        })
    }

    /// Brings the counts up to date.
    pub(super) fn collect(&mut self, services: &mut Services, ledger: &mut Ledger) -> io::Result<()> {
        let mut counted: HashMap<RequestKey, RequestCounts> = HashMap::new();
        batch::read_each(&self.maps.counts, self.rooms[2], |&Key(key), of_processor: &[Value]| {
            let sum = counted.entry(key).or_default();
            for &Value(counts) in of_processor {
                *sum += counts;
            }
        })?;
        for (Key(key), Value(counts)) in batch::read(&self.maps.spare_counts, self.rooms[3])? {
            *counted.entry(key).or_default() += counts;
        }
        // Afterwards: whatever is counted under a number was given that number before.
        services.learn(&counted.keys().map(|key| key.service).collect(), ledger)?;
        let keys = || counted.keys();
        self.learn(keys().map(|key| key.route), keys().map(|key| key.authority))?;
        self.counted = counted;
        // Counts that belong to nobody, or to a name that has given up its place since they were counted.
        let stray = |key: &RequestKey| {
            services.place(key.service).is_none() || !self.is_known(key.route, key.authority)
        };
        let stray: Vec<RequestKey> = self.counted.keys().copied().filter(stray).collect();
        self.take_out(&stray, services)
    }

    /// Removes entries from the map of counts, and keeps what they counted for whoever they are of.
    fn take_out(&mut self, keys: &[RequestKey], services: &Services) -> io::Result<()> {
        let (removed, outcome) = self.remove_counts(keys);
        for key in &keys[..removed] {
            let Some(counts) = self.counted.remove(key) else { continue };
            self.places.keep(key.authority.into(), counts.words[REQUESTS]);
            if let Some(place) = services.place(key.service) {
                let row = self.row(key);
                *self.gone.entry(place.clone()).or_default().entry(row).or_default() += counts;
            }
        }
        outcome
    }

    /// Removes entries from the maps of counts, in their order, and tells of how many nothing is there any more.
    fn remove_counts(&self, keys: &[RequestKey]) -> (usize, io::Result<()>) {
        let pods: Vec<Key> = keys.iter().copied().map(Key).collect();
        let (removed, outcome) = batch::remove(&self.maps.counts, &pods);
        let (of_spare, outcome_of_spare) = batch::remove(&self.maps.spare_counts, &pods[..removed]);
        (of_spare, outcome.and(outcome_of_spare))
    }

    /// Reads which numbers stand for which names, where one of these is not known.
    fn learn(
        &mut self,
        mut routes: impl Iterator<Item = u16>,
        mut authorities: impl Iterator<Item = u16>,
    ) -> io::Result<()> {
        if !routes.all(|number| has_text(&self.routes, number.into())) {
            self.learn_routes()?;
        }
        if !authorities.all(|number| has_text(&self.authorities, number.into())) {
            self.learn_authorities()?;
        }
        Ok(())
    }

    /// Whether it is known what the numbers of a route and of an authority stand for.
    fn is_known(&self, route: u16, authority: u16) -> bool {
        has_text(&self.routes, route.into()) && has_text(&self.authorities, authority.into())
    }

    /// Reads what all numbers stand for.
    ///
    /// # Errors
    ///
    /// If the maps cannot be read: what is not known counts as other.
    pub fn learn_all(&mut self) -> io::Result<()> {
        self.learn_routes()?;
        self.learn_authorities()
    }

    fn learn_routes(&mut self) -> io::Result<()> {
        let entries: Vec<(Route, u64)> = batch::read(&self.maps.routes, self.rooms[0])?;
        for (Route(key), number) in entries {
            self.routes.entry(number as u32).or_insert_with(|| text(&key));
        }
        Ok(())
    }

    fn learn_authorities(&mut self) -> io::Result<()> {
        let entries: Vec<(NameKey, u64)> = batch::read(&self.maps.authorities, self.rooms[1])?;
        for (name, number) in entries {
            self.authorities.entry(number as u32).or_insert_with(|| name.text());
        }
        Ok(())
    }

    fn route(&self, number: u16) -> &Rc<str> {
        match u32::from(number) {
            UNMATCHED => &self.unmatched,
            OTHER | CROWDED => &self.other,
            number => self.routes.get(&number).unwrap_or(&self.other),
        }
    }

    fn authority(&self, number: u16) -> &Rc<str> {
        match u32::from(number) {
            NONE => &self.none,
            OTHER | CROWDED => &self.other,
            number => self.authorities.get(&number).unwrap_or(&self.other),
        }
    }

    fn row(&self, key: &RequestKey) -> Row {
        Row {
            authority: Rc::clone(self.authority(key.authority)),
            route: Rc::clone(self.route(key.route)),
            method: Method::from_u8(key.method),
            status: key.status,
        }
    }

    /// Takes the last look at a connection: a request whose answer was not whole has ended with it, and one whose answer
    /// ends with the connection is over.
    ///
    /// # Errors
    ///
    /// If the texts of its numbers cannot be read: then they are others.
    pub fn end(
        &mut self,
        connection: &Connection,
        (process, role): Member,
        server: &Rc<str>,
        now_ns: u64,
    ) -> io::Result<()> {
        let counters = connection.http();
        let is_http = connection.protocol == Protocol::Http as u8 && connection.flags & FLAG_CONTINUED == 0;
        let left = counters.in_flight();
        if !is_http || left == 0 {
            return Ok(());
        }
        let current = &counters.current;
        let learned = self.learn([current.route].into_iter(), [current.authority].into_iter());
        let group = Group::of(&process, role);
        let place = Place { group, server: Rc::clone(server), protocol: Protocol::Http };
        let first = self.row(&RequestKey {
            route: current.route,
            authority: current.authority,
            status: current.status,
            method: current.method,
            ..RequestKey::default()
        });
        let mut counts = RequestCounts::default();
        add_ended(&mut counts, current, connection.error, self.stream_after_ns, now_ns);
        let mut ended = vec![(first.clone(), counts)];
        if left > 1 {
            // Of those behind it only their number is known, and whether they are alike.
            let unknown = Row { route: Rc::clone(&self.unmatched), method: Method::Other, ..first.clone() };
            let row = Row { status: 0, ..if counters.differ == 0 { first } else { unknown } };
            let mut counts = RequestCounts::default();
            counts.words[REQUESTS] += u64::from(left - 1);
            counts.words[ENDINGS + ending(connection.error) as usize] += u64::from(left - 1);
            ended.push((row, counts));
        }
        let of_process = self.ended.entry((process, role)).or_default();
        let rows = self.gone.entry(place).or_default();
        for (row, counts) in ended {
            *of_process += Sums::of(row.status, &counts);
            *rows.entry(row).or_default() += counts;
        }
        learned
    }

    /// The stream that an open connection's answer is, or will be told to be.
    pub fn stream(&self, connection: &Connection, now_ns: u64) -> Option<Stream> {
        let counters = connection.http();
        let is_open = Phase::from_u8(connection.phase) == Phase::Open
            && connection.protocol == Protocol::Http as u8
            && connection.flags & FLAG_CONTINUED == 0;
        let in_flight = u64::from(counters.in_flight());
        if !is_open || in_flight == 0 {
            return None;
        }
        let current = &counters.current;
        let is_stream = current.is_stream(now_ns, self.stream_after_ns);
        Some(Stream {
            authority: Rc::clone(self.authority(current.authority)),
            route: Rc::clone(self.route(current.route)),
            in_flight: in_flight - u64::from(is_stream),
            is_stream,
        })
    }

    /// Takes note that nothing is counted any more for these services.
    pub(super) fn retire(&mut self, numbers: &HashSet<u32>, services: &Services) -> io::Result<()> {
        let theirs: Vec<RequestKey> =
            self.counted.keys().copied().filter(|key| numbers.contains(&key.service)).collect();
        self.take_out(&theirs, services)?;
        self.free_routes(numbers)
    }

    /// Takes the routes of services that are over from the map.
    fn free_routes(&mut self, services: &HashSet<u32>) -> io::Result<()> {
        self.places_of.retain(|service, _| !services.contains(service));
        let entries: Vec<(Route, u64)> = batch::read(&self.maps.routes, self.rooms[0])?;
        let theirs = entries.iter().filter(|(Route(key), _)| services.contains(&key.service));
        let theirs: Vec<(Route, u64)> = theirs.copied().collect();
        self.remove_routes(&theirs, &entries)?;
        for number in services {
            // Most have no routes: they speak something else.
            let _ = self.maps.routes_of.remove(number);
        }
        Ok(())
    }

    /// Takes routes from the map, in which there are `all`, and has others find a place instead.
    fn remove_routes(&mut self, routes: &[(Route, u64)], all: &[(Route, u64)]) -> io::Result<()> {
        let keys: Vec<Route> = routes.iter().map(|&(key, _)| key).collect();
        let (removed, outcome) = batch::remove(&self.maps.routes, &keys);
        let used: HashSet<u32> = all.iter().map(|&(_, number)| number as u32).collect();
        for &(_, number) in &routes[..removed] {
            self.routes.remove(&(number as u32));
            self.route_numbers.free(&mut self.maps.free_routes, |number| used.contains(&number))?;
        }
        if removed > 0 {
            // Last: whoever keeps a number looks again from here on.
            self.epochs[0].advance();
        }
        outcome
    }

    /// Takes note that processes have ended: what is told of one process is told no more.
    pub(super) fn forget_processes(&mut self, ended: &HashSet<Rc<Identity>>) {
        self.ended.retain(|(process, _), _| !ended.contains(process));
    }

    /// Forgets what was counted for processes that are gone, but for these.
    pub(super) fn retain_gone(&mut self, mut keep: impl FnMut(&Place) -> bool) {
        self.gone.retain(|place, _| keep(place));
    }

    /// Tells all counts.
    pub(super) fn for_each(&self, services: &Services, mut tell: impl FnMut(&Place, Row, &RequestCounts)) {
        for (place, rows) in &self.gone {
            for (row, counts) in rows {
                tell(place, row.clone(), counts);
            }
        }
        for (key, counts) in &self.counted {
            if let Some(place) = services.place(key.service) {
                tell(place, self.row(key), counts);
            }
        }
    }
}

/// A route as a label.
fn text(key: &RouteKey) -> Rc<str> {
    let length = (key.length as usize).min(key.bytes.len());
    String::from_utf8_lossy(&key.bytes[..length]).into()
}
