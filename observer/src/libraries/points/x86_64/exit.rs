//! The proof of an exit: an instruction that each call passes once, where its result is known.

use iced_x86::{ConditionCode, FlowControl, InstructionInfoFactory};

use super::emulated::is_worth_a_move;
use super::values::{State, Value, flow};
use crate::libraries::Function;
use crate::libraries::x86_64::listing::{Listing, Way};
use crate::libraries::x86_64::registers::{RAX, RSP};
use observer_ebpf::layout::library::ResultPlace;

/// The length's number among the arguments.
const LENGTH: Value = Value::Argument(2);
/// Instructions that are tried, of a function.
const TRIED: usize = 16;

/// A function, with what is known before each of its instructions.
struct Ground<'a> {
    function: Function,
    listing: &'a Listing<'a>,
    states: &'a [Option<State>],
}

/// Finds the exit of calls that pass the instruction `entry`: the number of its instruction, and where the result is.
pub(super) fn find(
    function: Function,
    listing: &Listing<'_>,
    states: &[Option<State>],
    entry: usize,
) -> Option<(usize, ResultPlace)> {
    if listing.is_jumped_to(entry) {
        return None;
    }
    let ground = Ground { function, listing, states };
    let reached = ground.reached(entry, None, Ground::counting);
    let candidates = (0..listing.instructions().len())
        .filter(|&index| reached.at[index] && is_worth_a_move(listing.bytes(index)));
    candidates.take(TRIED).find_map(|index| {
        let is_passed = !ground.reached(entry, Some(index), Ground::counting).is_left;
        let is_once = !ground.reached(index, None, Ground::all).at[index];
        let result = (is_passed && is_once).then(|| ground.result(index))??;
        Some((index, result))
    })
}

/// What calls return that go a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Returned {
    /// Nothing: none of them returns.
    Nothing,
    /// All the same.
    One(Value),
}

/// What is reached from an instruction.
struct Reached {
    /// Of each instruction, whether it is reached.
    at: Vec<bool>,
    /// Whether the function is left.
    is_left: bool,
}

impl Ground<'_> {
    /// What is reached from behind an instruction on these ways, not going on behind `until`.
    fn reached(&self, from: usize, until: Option<usize>, ways: impl Fn(&Self, usize) -> [Way; 2]) -> Reached {
        let mut reached = Reached { at: vec![false; self.listing.instructions().len()], is_left: false };
        let mut next = vec![from];
        while let Some(index) = next.pop() {
            for way in ways(self, index) {
                match way {
                    Way::None => {}
                    Way::Out => reached.is_left = true,
                    Way::To(target) => {
                        if !reached.at[target] {
                            reached.at[target] = true;
                            next.extend((Some(target) != until).then_some(target));
                        }
                    }
                }
            }
        }
        reached
    }

    /// All ways of an instruction.
    fn all(&self, index: usize) -> [Way; 2] {
        self.listing.ways(index).both()
    }

    /// Those ways of an instruction that calls take whose length is not less than 0.
    fn counting(&self, index: usize) -> [Way; 2] {
        let ways = self.listing.ways(index);
        let tells_length = self.states[index].is_some_and(|state| state.flags == LENGTH);
        if !tells_length || !self.function.takes_signed_length() {
            return ways.both();
        }
        // A comparison with 0 does not overflow: less than 0 is what the sign says.
        match self.listing.instructions()[index].condition_code() {
            ConditionCode::s | ConditionCode::l => [Way::None, ways.next],
            ConditionCode::ns | ConditionCode::ge => [ways.jump, Way::None],
            _ => ways.both(),
        }
    }

    /// Where the function's result is at an instruction.
    fn result(&self, index: usize) -> Option<ResultPlace> {
        let state = self.states[index]?.at_exit();
        let instruction = &self.listing.instructions()[index];
        let after = state.after(index, instruction, &mut InstructionInfoFactory::new());
        let ways = self.listing.ways(index);
        let (jump, next) = (self.returned(ways.jump, &after)?, self.returned(ways.next, &after)?);
        let is_result = |returned| matches!(returned, Returned::Nothing | Returned::One(Value::Result));
        if is_result(jump) && is_result(next) && [jump, next].contains(&Returned::One(Value::Result)) {
            return Some(ResultPlace::Returned);
        }
        if state.flags != Value::Result {
            return None;
        }
        let (more, not_more) = match instruction.condition_code() {
            ConditionCode::le => (next, jump),
            ConditionCode::g => (jump, next),
            _ => return None,
        };
        match (more, not_more, state.registers[RSP]) {
            (Returned::One(Value::Word(place)), Returned::One(Value::Result), Value::Frame(stack)) => {
                Some(ResultPlace::StackWord(u16::try_from(place.checked_sub(stack)?).ok()?))
            }
            _ => None,
        }
    }

    /// What calls return that go this way in this state. `None` if they do not all return the same, if they leave the
    /// function otherwise, or if they still do more than to return.
    fn returned(&self, way: Way, state: &State) -> Option<Returned> {
        let start = match way {
            Way::None => return Some(Returned::Nothing),
            Way::Out => return None,
            Way::To(start) => start,
        };
        let mut returned = Returned::Nothing;
        for (index, state) in flow(self.listing, start, state).into_iter().enumerate() {
            let Some(state) = state else { continue };
            if !self.listing.ways(index).both().contains(&Way::Out) {
                continue;
            }
            let one = Returned::One(state.registers[RAX]);
            let is_return = self.listing.instructions()[index].flow_control() == FlowControl::Return;
            let is_same = returned == Returned::Nothing || returned == one;
            let is_known = matches!(one, Returned::One(Value::Result | Value::Word(_)));
            if !is_return || state.touched || !is_same || !is_known {
                return None;
            }
            returned = one;
        }
        Some(returned)
    }
}
