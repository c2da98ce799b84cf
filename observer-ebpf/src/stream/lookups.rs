//! Keys that were looked up, counted by their prefix: those of one prefix that follow on one another are handed on
//! together.

use super::names::Keys;
use crate::layout::connection::Connection;
use crate::layout::names::KeyCounts;

/// Keys of one prefix that a reply has found, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) prefix: u16,
    pub(crate) hits: u32,
    pub(crate) misses: u32,
}

impl Found {
    pub(crate) const NONE: Self = Self { prefix: 0, hits: 0, misses: 0 };

    /// One key, found or not.
    #[inline(always)]
    pub(crate) fn one(prefix: u16, is_found: bool) -> Self {
        Self { prefix, hits: u32::from(is_found), misses: u32::from(!is_found) }
    }
}

/// What is kept of lookups in a connection's slot.
pub(crate) trait LookupCounters {
    /// Keys found and not found that could not be counted by name; and what has been counted in all, which tells whether
    /// the slot is full.
    fn fields(&mut self) -> [&mut u32; 3];

    /// Takes note of keys that were counted; `by_name` is false if there was no room to count them by name.
    #[inline(always)]
    fn note(&mut self, hits: u32, misses: u32, by_name: bool) {
        let [hits_other, misses_other, counted] = self.fields();
        if !by_name {
            *hits_other = hits_other.wrapping_add(hits);
            *misses_other = misses_other.wrapping_add(misses);
        }
        *counted = counted.wrapping_add(hits).wrapping_add(misses);
    }
}

/// Keys that are not handed on yet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Lookups {
    hits: u32,
    misses: u32,
    prefix: u32,
    reserved: u32,
}

impl Lookups {
    pub(crate) const NONE: Self = Self { hits: 0, misses: 0, prefix: 0, reserved: 0 };

    /// Adds keys to those of the same prefix before them.
    #[inline(always)]
    pub(crate) fn add<S: Keys, C: LookupCounters>(
        &mut self,
        found: Found,
        source: &mut S,
        connection: &mut Connection,
        counters: impl Fn(&mut Connection) -> &mut C,
    ) {
        if found.hits | found.misses == 0 {
            return;
        }
        let prefix = u32::from(found.prefix);
        if self.prefix != prefix {
            self.settle(source, connection, counters);
            self.prefix = prefix;
        }
        self.hits = self.hits.wrapping_add(found.hits);
        self.misses = self.misses.wrapping_add(found.misses);
    }

    /// Hands on what was added.
    #[inline(always)]
    pub(crate) fn settle<S: Keys, C: LookupCounters>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
        counters: impl Fn(&mut Connection) -> &mut C,
    ) {
        let (hits, misses) = (self.hits, self.misses);
        if hits | misses == 0 {
            return;
        }
        self.hits = 0;
        self.misses = 0;
        let counts = KeyCounts { hits: u64::from(hits), misses: u64::from(misses) };
        let by_name = source.count(connection, self.prefix, &counts);
        counters(connection).note(hits, misses, by_name);
    }
}
