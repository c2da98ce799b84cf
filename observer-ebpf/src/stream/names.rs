//! Bounded names, as parsers use them: see [`crate::layout::names`].

use super::bytes::Host;
use crate::layout::connection::Connection;
use crate::layout::names::{Name, Namespace};

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
