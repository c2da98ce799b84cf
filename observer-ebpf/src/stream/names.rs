//! Bounded names, as parsers use them: see [`crate::layout::names`].

use super::bytes::Host;
use super::prefix::{LastPrefix, Text, Work};
use crate::layout::connection::Connection;
use crate::layout::names::{Name, Namespace, Prefixes};

/// Where names of a kind are told apart and counted.
pub trait Names<N: Namespace>: Host {
    /// The number of a name; [`CROWDED`](crate::layout::names::CROWDED) if there is no place for it now.
    fn number(&mut self, name: &Name) -> u32;

    /// Changes whenever the agent has taken names' places: a number that was kept from before may be another name's.
    fn epoch(&self) -> u32;

    /// Counts under a name, or one of the numbers that stand for none, for the process and the server of a connection.
    /// False if there is no room to.
    fn count(&mut self, connection: &mut Connection, number: u32, counts: &N::Counts) -> bool;
}

/// Where cache keys are told apart by their prefixes.
pub trait Keys: Names<Prefixes> {
    /// The byte that ends a segment of a key.
    fn separator(&self) -> u8;

    /// How many segments a prefix has, at most [`SEGMENTS_MAX`](super::prefix::SEGMENTS_MAX).
    fn segments(&self) -> u32;

    /// Whether there are segments to be stepped over besides those that always are.
    fn has_skips(&self) -> bool;

    /// What is put together of a key.
    fn work(&mut self) -> &mut Work;

    /// Whether the name that was kept there, of `length` bytes, is one of them.
    fn is_skipped(&mut self, length: u32) -> bool;

    /// The number of that name.
    fn kept_number(&mut self, length: u32) -> u32;

    /// What [`number_of`](super::prefix::number_of) tells of a key: in the kernel a function of its own.
    fn prefix(&mut self, text: &Text, last: &mut LastPrefix, length: u32, is_whole: bool) -> u32;
}
