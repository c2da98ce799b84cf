//! What requests are counted by: routes, authorities, and counts under them, as the parser uses them.

use super::layout::{Done, RequestKey};
use super::target::Template;
use crate::layout::connection::Connection;
use crate::layout::names::{LAST, NAME_MAX, NONE, OTHER};
use crate::stream::bytes::{Host, hide_field};
use crate::stream::prefix::Text;
use crate::stream::text::{everywhere, marks_of, unprintable};

/// Where routes and authorities are told apart, and requests are counted.
pub trait Labels: Host {
    /// The number of a route of the connection's process and server; [`UNMATCHED`](super::layout::UNMATCHED) if it has none.
    fn route(&mut self, template: &Template, connection: &mut Connection) -> u32;

    /// The same, a new one if it has none; [`CROWDED`](crate::layout::names::CROWDED) if there is no place for it.
    fn new_route(&mut self, template: &Template, connection: &mut Connection) -> u32;

    /// The number of the name that is the first `length` (1 to 32) bytes of a text, zeroes behind.
    fn authority(&mut self, text: &Text, length: u32) -> u32;

    /// Counts a request that was answered whole, for the process and the server of a connection, whatever service its key
    /// is of. False if there is no room to.
    fn count_request(&mut self, connection: &mut Connection, key: RequestKey, done: &Done) -> bool;

    /// Counts events of a stream that goes on, likewise.
    fn count_events(&mut self, connection: &mut Connection, key: RequestKey, events: u64) -> bool;

    /// Where in the tree of given templates a segment, which is the first `length` bytes of a text, leads from a node; 0
    /// if there is no template that has it there.
    fn descend(&mut self, node: u32, text: &Text, length: u32) -> u32;

    /// Sets a template to the given one that ends at a node. False if none does.
    fn given(&mut self, node: u32, template: &mut Template) -> bool;

    /// How long a response without length takes at least to be a stream, in nanoseconds.
    fn stream_after_ns(&self) -> u64;
}

/// The number of an authority, where its text may be a label.
#[inline(always)]
pub(super) fn authority<S: Labels>(text: &Text, length: u32, source: &mut S) -> u16 {
    if length == 0 {
        return NONE as u16;
    }
    let mut unfit = 0;
    let mut at = 0;
    while at < 4 {
        let word = hide_field(&text.words[at]);
        // Before an `@` there may be a user, and a password.
        unfit |= unprintable(word, length, at as u32) | marks_of(word, everywhere(b'@'));
        at += 1;
    }
    if length > NAME_MAX as u32 || unfit != 0 {
        return OTHER as u16;
    }
    kept(source.authority(text, length))
}

/// The number of a route: of those that have been answered.
#[inline(always)]
pub(super) fn route<S: Labels>(template: &Template, source: &mut S, connection: &mut Connection) -> u16 {
    if template.is_odd != 0 {
        return OTHER as u16;
    }
    kept(source.route(template, connection))
}

/// Whether an answer of this status makes its target a route. Those that find nothing make none: so those who try what is
/// there take no places.
#[inline(always)]
pub(super) const fn is_found(status: u32) -> bool {
    status != 400 && status != 404 && status != 405
}

/// The number of a route that has just been answered.
#[inline(always)]
pub(super) fn new_route<S: Labels>(template: &Template, source: &mut S, connection: &mut Connection) -> u16 {
    kept(source.new_route(template, connection))
}

/// As many bits as are kept of numbers.
#[inline(always)]
const fn kept(number: u32) -> u16 {
    if number <= LAST { number as u16 } else { OTHER as u16 }
}
