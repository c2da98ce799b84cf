//! The points of functions on x86-64, by disassembly.
//!
//! **The entry** is the first instruction that is emulated in the function's head, which are its instructions up to
//! the first that jumps, calls or returns, that one included: each call executes them once, as nothing in the function
//! jumps back to them. The registers of the arguments must still hold these.
//!
//! **The exit** is the first emulated instruction of which all this is proven: each way from the entry to where the
//! function is left passes it; no way passes it twice; behind it nothing is called and no memory is written; and what
//! will be returned is in `eax`, or, as told by a jump that is the instruction itself, in a word of the stack. Of the
//! ways, those do not count that a jump takes by which the length, as it was passed, is less than 0.

mod emulated;
mod exit;
mod values;

use super::{Exit, Function, Point, Points, first};
use crate::libraries::elf::Machine;
use crate::libraries::x86_64::listing::Listing;
use crate::libraries::x86_64::registers::ARGUMENTS;
use emulated::{is_emulated, is_worth_a_move};
use iced_x86::FlowControl;
use values::{State, Value, flow};

/// Whether a function's first instruction is one that is emulated.
pub(super) fn is_first_emulated(code: &[u8]) -> bool {
    let mut decoder = iced_x86::Decoder::new(64, code, iced_x86::DecoderOptions::NONE);
    let length = if decoder.can_decode() { decoder.decode().len() } else { 0 };
    code.get(..length).is_some_and(is_emulated)
}

/// Finds the points of a function from all of its `code`, which starts at `offset` in the file.
pub(super) fn find(function: Function, code: &[u8], offset: u64) -> Points {
    proven(function, code, offset).unwrap_or_else(|| first(Machine::X86_64, function, code, offset))
}

fn proven(function: Function, code: &[u8], offset: u64) -> Option<Points> {
    let listing = Listing::new(code)?;
    let states = flow(&listing, 0, &State::at_start());
    let moved = entry(function, &listing, &states);
    let exit = if function.ends_a_session() {
        Exit::Unneeded
    } else {
        let (at, result) = exit::find(function, &listing, &states, moved.unwrap_or(0))?;
        Exit::At { offset: offset.checked_add(listing.place(at))?, result }
    };
    let entry = moved.unwrap_or(0);
    let point = Point {
        offset: offset.checked_add(listing.place(entry))?,
        emulated: is_emulated(listing.bytes(entry)),
    };
    Some(Points { entry: point, exit })
}

/// The first emulated instruction of the head where all arguments are in their registers.
fn entry(function: Function, listing: &Listing<'_>, states: &[Option<State>]) -> Option<usize> {
    for (index, instruction) in listing.instructions().iter().enumerate() {
        if listing.is_jumped_to(index) {
            return None;
        }
        let state = states[index].as_ref()?;
        let holds =
            |(number, &register): (usize, &usize)| state.registers[register] == Value::Argument(number as u8);
        if !ARGUMENTS.iter().enumerate().take(function.arguments()).all(holds) {
            return None;
        }
        if is_worth_a_move(listing.bytes(index)) {
            return Some(index);
        }
        if instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
