//! The kernel half's maps of key prefixes: which number stands for which, and the keys found and not found.

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;

use aya::maps::MapData;
use observer_ebpf::layout::redis::{CountKey, KeyCounts, PREFIX_FIRST, PREFIX_NONE, PREFIX_OTHER, Prefix};

use crate::kernel::batch;
use crate::ledger::Ledger;

/// What keys without a separator count under.
pub const NONE: &str = "none";
/// What keys count under whose prefix is not one to be shown, or one too many.
pub const OTHER: &str = "other";

/// Prefixes by their number.
pub type Names = HashMap<u64, Box<str>>;

macro_rules! pod {
    ($($name:ident $type:ty;)*) => {
        $(
            #[derive(Clone, Copy)]
            #[repr(transparent)]
            struct $name($type);

            // SAFETY: integers only, without padding.
            unsafe impl aya::Pod for $name {}
        )*
    };
}

pod! {
    PrefixKey Prefix;
    Key CountKey;
    Counts KeyCounts;
}

/// Both maps.
#[derive(Debug)]
pub struct Maps {
    prefixes: MapData,
    counts: MapData,
    /// Elements that each has room for.
    rooms: [usize; 2],
    names: Rc<Names>,
}

impl Maps {
    /// `PREFIXES` and `PREFIX_COUNTS`.
    pub fn new(prefixes: MapData, counts: MapData) -> Result<Self, aya::maps::MapError> {
        let room = |map: &MapData| map.info().map(|info| info.max_entries() as usize);
        let rooms = [room(&prefixes)?, room(&counts)?];
        let names = [(PREFIX_NONE, NONE), (PREFIX_OTHER, OTHER)];
        let names = names.map(|(number, name)| (u64::from(number), name.into()));
        Ok(Self { prefixes, counts, rooms, names: Rc::new(names.into()) })
    }

    /// Prefixes by number, as far as keys were counted under them.
    pub fn names(&self) -> &Rc<Names> {
        &self.names
    }

    /// Brings the ledger up to date with all counts, and removes those of connections that are gone.
    pub fn collect(&mut self, ledger: &mut Ledger, now_ns: u64) -> io::Result<()> {
        let counts: Vec<(Key, Counts)> = batch::read(&self.counts, self.rooms[1])?;
        let counts: Vec<(CountKey, KeyCounts)> =
            counts.into_iter().map(|(Key(key), Counts(counts))| (key, counts)).collect();
        self.learn_names(&counts)?;
        let over = ledger.take_keys(&counts, now_ns);
        let keys: Vec<Key> = over.iter().map(|&(key, _)| Key(key)).collect();
        let (removed, outcome) = batch::remove(&self.counts, &keys);
        // Those that stay are taken the next time.
        ledger.settle_keys(&over[..removed], outcome.is_ok());
        outcome
    }

    /// Reads the names of numbers that are new, before anything is counted under them.
    fn learn_names(&mut self, counts: &[(CountKey, KeyCounts)]) -> io::Result<()> {
        let used: HashSet<u64> = counts.iter().map(|(key, _)| key.prefix).collect();
        if used.iter().all(|number| self.names.contains_key(number)) {
            return Ok(());
        }
        let prefixes: Vec<(PrefixKey, u64)> = batch::read(&self.prefixes, self.rooms[0])?;
        let names = Rc::make_mut(&mut self.names);
        for (PrefixKey(prefix), number) in prefixes {
            if number >= u64::from(PREFIX_FIRST) {
                names.entry(number).or_insert_with(|| name(&prefix));
            }
        }
        Ok(())
    }
}

/// A prefix as a label: printable ASCII, as the kernel half sees to.
fn name(prefix: &Prefix) -> Box<str> {
    let length = usize::try_from(prefix.length).unwrap_or(usize::MAX).min(prefix.bytes.len());
    String::from_utf8_lossy(&prefix.bytes[..length]).into()
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::redis::{PREFIX_MAX, Prefix};

    #[test]
    fn a_prefix_is_as_long_as_it_says() {
        let mut bytes = [0; PREFIX_MAX];
        bytes[..4].copy_from_slice(b"user");
        assert_eq!(&*super::name(&Prefix { bytes, length: 4 }), "user");
        assert_eq!(&*super::name(&Prefix { bytes, length: 0 }), "");
        assert_eq!(super::name(&Prefix { bytes: [b'x'; PREFIX_MAX], length: u64::MAX }).len(), PREFIX_MAX);
    }
}
