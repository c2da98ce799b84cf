//! How a parser is cut for the verifier.
//!
//! A global function is checked once, for any arguments; what is inlined is walked again at every place where it is
//! used, and with every state that leads there. So a parser says which of its functions are worth that, and runs them
//! through [`Runs`]. The kernel half makes a global function of each (`program/subprograms.rs`); on the host they are
//! called as they are.

use super::bytes::Host;
use super::parser::StreamId;
use crate::layout::Side;
use crate::layout::connection::Connection;

/// A state whose functions are cut so.
pub trait Subprograms: Sized {
    /// Which of them.
    type Subprogram: Copy;
}

/// What runs them, for the state `P`.
pub trait Runs<P: Subprograms>: Host {
    /// Runs one, and returns what it does.
    fn run(
        &mut self,
        subprogram: P::Subprogram,
        state: &mut P,
        stream: StreamId,
        connection: &mut Connection,
    ) -> u32;
}

/// What looks through whole calls, for the parser `P`, in a subprogram as well.
pub trait Looks<P>: Host {
    /// Whether the call consists of whole messages of the protocol, the last of which ends what is said at once. Where a
    /// stream is out of sync, or a connection's protocol not known, that is where it is found again.
    fn is_whole(&mut self, side: Side) -> bool;
}
