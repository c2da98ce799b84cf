//! One kind of names: the kernel half's maps of it, and what they count.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::ops::AddAssign;
use std::rc::Rc;

use aya::maps::{MapData, MapError, Stack};
use observer_ebpf::layout::names::{CountKey, NAME_MAX, NONE, Name};

use super::has_text;
use super::numbers::Numbers;
use super::places::Places;
use super::services::{Place, Services};
use crate::kernel::batch;
use crate::kernel::pod::pod;
use crate::ledger::Ledger;
use crate::snapshot::Epochs;

/// What is counted under a name.
pub trait Counts: Copy + Default + AddAssign + std::fmt::Debug + 'static {
    /// How often the name was used.
    fn uses(&self) -> u64;
}

pod! {
    /// [`Name`] as a map's key.
    pub NameKey(Name);
    /// [`CountKey`] as a map's key.
    Key(CountKey);
}

impl NameKey {
    /// The name of the first bytes of a text, at most [`NAME_MAX`].
    pub fn of(text: &str) -> Self {
        let length = text.len().min(NAME_MAX);
        let mut bytes = [0; NAME_MAX];
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self(Name { bytes, length: length as u64 })
    }

    /// The name as a label.
    pub fn text(&self) -> Rc<str> {
        text(&self.0)
    }
}

/// What a namespace's counts are in its map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value<C>(C);

// SAFETY: counts are of integers only, without padding.
unsafe impl<C: Counts> aya::Pod for Value<C> {}

/// The maps of a namespace.
pub struct Maps {
    /// Numbers by name; it has room for as many names as there are places.
    pub names: MapData,
    /// Counts by service and name.
    pub counts: MapData,
    /// Numbers that may be given to names.
    pub free: Stack<MapData, u32>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// A namespace.
#[derive(Debug)]
pub struct Namespace<C> {
    maps: Maps,
    epochs: Epochs,
    /// Entries that the maps of names and of counts have room for.
    rooms: [usize; 2],
    places: Places,
    numbers: Numbers,
    texts: HashMap<u32, Rc<str>>,
    /// What the map of counts holds.
    counted: HashMap<CountKey, C>,
    /// What was counted for processes that are gone, and under names that had just given up their places.
    gone: HashMap<Place, BTreeMap<Rc<str>, C>>,
    none: Rc<str>,
    other: Rc<str>,
}

impl<C: Counts> Namespace<C> {
    /// Takes over the maps, and makes as many numbers free as there is room for names.
    ///
    /// # Errors
    ///
    /// If the maps cannot be looked at or written.
    pub fn new(mut maps: Maps, epochs: Epochs) -> Result<Self, MapError> {
        let room = |map: &MapData| map.info().map(|info| info.max_entries() as usize);
        let rooms = [room(&maps.names)?, room(&maps.counts)?];
        let numbers = Numbers::of(&mut maps.free, rooms[0])?;
        Ok(Self {
            maps,
            epochs,
            rooms,
            places: Places::new(rooms[0]),
            numbers,
            texts: HashMap::new(),
            counted: HashMap::new(),
            gone: HashMap::new(),
            none: super::NONE.into(),
            other: super::OTHER.into(),
        })
    }

    /// Brings the counts up to date.
    pub(super) fn collect(&mut self, services: &mut Services, ledger: &mut Ledger) -> io::Result<()> {
        let mut counted: HashMap<CountKey, C> = HashMap::new();
        batch::read_each(&self.maps.counts, self.rooms[1], |&Key(key), of_processor: &[Value<C>]| {
            let sum = counted.entry(key).or_default();
            for &Value(counts) in of_processor {
                *sum += counts;
            }
        })?;
        // Afterwards: whatever is counted under a number was given that number before.
        services.learn(&counted.keys().map(|key| key.service).collect(), ledger)?;
        if !counted.keys().all(|key| has_text(&self.texts, key.name)) {
            self.learn()?;
        }
        self.counted = counted;
        // Counts that belong to nobody, or to a name that has given up its place since they were counted.
        let stray =
            |key: &CountKey| services.place(key.service).is_none() || !has_text(&self.texts, key.name);
        let stray: Vec<CountKey> = self.counted.keys().copied().filter(stray).collect();
        self.take_out(&stray, services)
    }

    /// Reads which numbers stand for which names.
    fn learn(&mut self) -> io::Result<()> {
        let names: Vec<(NameKey, u64)> = batch::read(&self.maps.names, self.rooms[0])?;
        for (NameKey(name), number) in names {
            if let Ok(number) = u32::try_from(number) {
                self.texts.entry(number).or_insert_with(|| text(&name));
            }
        }
        Ok(())
    }

    /// The text of a number.
    fn text(&self, number: u32) -> &Rc<str> {
        if number == NONE { &self.none } else { self.texts.get(&number).unwrap_or(&self.other) }
    }

    /// Removes entries from the map of counts, and keeps what they counted for whoever they are of.
    fn take_out(&mut self, keys: &[CountKey], services: &Services) -> io::Result<()> {
        let pods: Vec<Key> = keys.iter().copied().map(Key).collect();
        let (removed, outcome) = batch::remove(&self.maps.counts, &pods);
        for key in &keys[..removed] {
            let Some(counts) = self.counted.remove(key) else { continue };
            self.places.keep(key.name, counts.uses());
            if let Some(place) = services.place(key.service) {
                let text = Rc::clone(self.text(key.name));
                *self.gone.entry(place.clone()).or_default().entry(text).or_default() += counts;
            }
        }
        outcome
    }

    /// Takes note that nothing is counted any more for these services.
    pub(super) fn retire(&mut self, numbers: &HashSet<u32>, services: &Services) -> io::Result<()> {
        let theirs: Vec<CountKey> =
            self.counted.keys().copied().filter(|key| numbers.contains(&key.service)).collect();
        self.take_out(&theirs, services)
    }

    /// Forgets what was counted for processes that are gone, but for these.
    pub(super) fn retain_gone(&mut self, mut keep: impl FnMut(&Place) -> bool) {
        self.gone.retain(|place, _| keep(place));
    }

    /// Has names give up their places where others find none: see [`Places`].
    pub(super) fn free_places(&mut self, now_ns: u64) -> io::Result<()> {
        let names: Vec<(NameKey, u64)> = batch::read(&self.maps.names, self.rooms[0])?;
        let names: HashMap<u32, NameKey> = names
            .into_iter()
            .filter_map(|(name, number)| Some((u32::try_from(number).ok()?, name)))
            .collect();
        let counted = self.counted.iter().map(|(key, counts)| (key.name, counts.uses()));
        let freed = self.places.look(now_ns, names.keys().copied(), counted);
        if freed.is_empty() {
            return Ok(());
        }
        let (removed, outcome) =
            batch::remove(&self.maps.names, &freed.iter().map(|number| names[number]).collect::<Vec<_>>());
        for &number in &freed[..removed] {
            self.forget(number)?;
            self.numbers.free(&mut self.maps.free, |number| names.contains_key(&number))?;
        }
        // Last: a parser that keeps a number, or keeps that there is no place, looks again from here on.
        self.epochs.advance();
        outcome
    }

    /// Forgets a name with all that was counted under it.
    fn forget(&mut self, number: u32) -> io::Result<()> {
        let Some(text) = self.texts.remove(&number) else { return Ok(()) };
        for counts in self.gone.values_mut() {
            counts.remove(&text);
        }
        let keys: Vec<CountKey> = self.counted.keys().copied().filter(|key| key.name == number).collect();
        for key in &keys {
            self.counted.remove(key);
        }
        batch::remove(&self.maps.counts, &keys.into_iter().map(Key).collect::<Vec<_>>()).1
    }

    /// Tells all counts of processes that are there, by the number of the service.
    pub(super) fn for_each_service(&self, mut tell: impl FnMut(u32, C)) {
        for (key, &counts) in &self.counted {
            tell(key.service, counts);
        }
    }

    /// Tells all counts, each name's for each service.
    pub(super) fn for_each(&self, services: &Services, mut tell: impl FnMut(&Place, &Rc<str>, C)) {
        for (place, by_name) in &self.gone {
            for (name, &counts) in by_name {
                tell(place, name, counts);
            }
        }
        for (key, &counts) in &self.counted {
            if let Some(place) = services.place(key.service) {
                tell(place, self.text(key.name), counts);
            }
        }
    }
}

/// A name as a label: printable ASCII, as the kernel half sees to.
fn text(name: &Name) -> Rc<str> {
    let length = usize::try_from(name.length).unwrap_or(usize::MAX).min(name.bytes.len());
    String::from_utf8_lossy(&name.bytes[..length]).into()
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::names::{NAME_MAX, Name};

    #[test]
    fn a_name_is_as_long_as_it_says() {
        let mut bytes = [0; NAME_MAX];
        bytes[..4].copy_from_slice(b"user");
        assert_eq!(&*super::text(&Name { bytes, length: 4 }), "user");
        assert_eq!(&*super::text(&Name { bytes, length: 0 }), "");
        assert_eq!(super::text(&Name { bytes: [b'x'; NAME_MAX], length: u64::MAX }).len(), NAME_MAX);
    }
}
