//! The layout of sessions on x86-64, by disassembly.
//!
//! Of each register it is followed what it holds: the session, an address in it or in a part that it points to, or what
//! was read there. Ways through the function are followed one by one, and not as one where they meet: since OpenSSL 3.2
//! a function goes on with its argument, or, for QUIC, with another session, which it has called a function for.
//!
//! **The random** is where the bytes come from that the function writes to the very start of its second argument, which
//! is where it is told to copy to: by a `mov` of what was read before, by `movs`, or by a call or a last jump with both
//! addresses as the first arguments, as `memcpy` has them.
//!
//! **Whether it is a server's** is told by the word of 32 bits that the function returns. On some ways it may return a
//! constant in its place, as for a session that is none.
//!
//! Either is known only if it is one place, and nothing else, on all ways, in its argument as in another session that
//! it may go on with.

mod values;
mod ways;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory};
use observer_ebpf::layout::library::SessionLayout;

use super::Code;
use crate::libraries::x86_64::listing::{Listing, Way};
use crate::libraries::x86_64::registers::{ARGUMENTS, RAX};
use values::{Owner, Place, State, Value};

/// Bytes of what `SSL_is_server` returns, an `int`.
const WORD: u8 = 4;

/// Finds the layout of a library's sessions from its functions.
pub(super) fn find(code: Code<'_>) -> Option<SessionLayout> {
    let Place { part, offset: random } = client_random(code.client_random)?;
    let Place { part: None, offset: is_server } = is_server(code.is_server)? else { return None };
    SessionLayout::new(part, random, is_server)
}

/// The place of what the function `SSL_get_client_random` copies.
fn client_random(code: &[u8]) -> Option<Place> {
    let listing = Listing::new(code)?;
    let mut info = InstructionInfoFactory::new();
    let mut source = Source::default();
    ways::follow(&listing, &State::at_start(), |index, state| {
        let instruction = &listing.instructions()[index];
        let written = state.written_to_out(instruction, &mut info).or_else(|| copied(&listing, index, state));
        match written {
            Some(Value::Read { owner, place, .. }) => source.add(owner, place),
            Some(_) => None,
            None => Some(()),
        }
    })?;
    source.place()
}

/// What the function copies to its second argument by handing over both addresses to another, from the first byte on.
fn copied(listing: &Listing<'_>, index: usize, state: &State) -> Option<Value> {
    let [to, from, ..] = ARGUMENTS.map(|register| state.registers[register]);
    let hands_over = match listing.instructions()[index].flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => true,
        FlowControl::Return => false,
        _ => listing.ways(index).both().contains(&Way::Out),
    };
    (hands_over && to == Value::Out).then(|| from.first_byte())
}

/// The place of what the function `SSL_is_server` returns.
fn is_server(code: &[u8]) -> Option<Place> {
    let listing = Listing::new(code)?;
    let mut source = Source::default();
    ways::follow(&listing, &State::at_start(), |index, state| {
        if !listing.ways(index).both().contains(&Way::Out) {
            return Some(());
        }
        match state.registers[RAX] {
            // What it returns where it does not return itself is not known.
            _ if !is_return(&listing.instructions()[index]) => None,
            Value::Constant => Some(()),
            Value::Read { owner, place, bytes: WORD } => source.add(owner, place),
            _ => None,
        }
    })?;
    source.place()
}

fn is_return(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Return
}

/// Where something comes from on the ways that have been followed.
#[derive(Debug, Default)]
struct Source {
    /// In the function's argument.
    argument: Option<Place>,
    /// In another session that it goes on with.
    returned: Option<Place>,
}

impl Source {
    /// Adds where it comes from on a way. `None` if that is another place than on the ways before.
    fn add(&mut self, owner: Owner, place: Place) -> Option<()> {
        let known = match owner {
            Owner::Argument => &mut self.argument,
            Owner::Returned => &mut self.returned,
        };
        // What begins where a session or its part does is what they are told by themselves, such as their type.
        (place.offset != 0 && *known.get_or_insert(place) == place).then_some(())
    }

    /// The one place, if it is in the argument, and nowhere else in another session.
    fn place(self) -> Option<Place> {
        self.argument.filter(|&place| self.returned.is_none_or(|other| other == place))
    }
}

#[cfg(test)]
mod tests;
