//! What is known of registers and flags before each instruction of a function, on whichever way it is reached.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use crate::libraries::x86_64::listing::{Listing, Way};
use crate::libraries::x86_64::registers::{ARGUMENTS, KEPT, RAX, RBP, RSP, gpr, is_write, number};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Not known.
    Unknown,
    /// All of the function's argument of this number, counted from 0.
    Argument(u8),
    /// The address that lies this many bytes from where `rsp` pointed at the function's start.
    Frame(i32),
    /// In its lower half, what the instruction of this number returned when it last called.
    Returned(usize),
    /// In its lower half, what was in `eax` at the instruction that is looked at as the exit.
    Result,
    /// In its lower half, the word that was at this place in the frame, as in [`Frame`](Self::Frame).
    Word(i32),
}

/// What is known before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// What each register holds.
    pub(super) registers: [Value; 16],
    /// The value whose lower half the flags compare with 0.
    pub(super) flags: Value,
    /// Whether memory may have been written, or a function called.
    pub(super) touched: bool,
}

impl State {
    /// At a function's start.
    pub(super) fn at_start() -> Self {
        let mut registers = [Value::Unknown; 16];
        for (number, register) in ARGUMENTS.into_iter().enumerate() {
            registers[register] = Value::Argument(number as u8);
        }
        registers[RSP] = Value::Frame(0);
        Self { registers, flags: Value::Unknown, touched: false }
    }

    /// This state at the instruction that is looked at as the exit: what holds the same as `eax` holds the result, and
    /// what the stack holds is read from now on only.
    pub(super) fn at_exit(mut self) -> Self {
        let result = self.registers[RAX];
        let renamed = |value| match value {
            Value::Returned(_) if value == result => Value::Result,
            Value::Word(_) | Value::Result => Value::Unknown,
            other => other,
        };
        self.registers = self.registers.map(renamed);
        self.flags = renamed(self.flags);
        self.registers[RAX] = Value::Result;
        self.touched = false;
        self
    }

    /// Keeps what is known in both states. Whether that is less than before.
    fn meet(&mut self, other: &Self) -> bool {
        let before = *self;
        for (own, other) in self.registers.iter_mut().zip(other.registers) {
            if *own != other {
                *own = Value::Unknown;
            }
        }
        if self.flags != other.flags {
            self.flags = Value::Unknown;
        }
        self.touched |= other.touched;
        *self != before
    }

    /// What is known after an instruction, which is the `index`th.
    pub(super) fn after(
        mut self,
        index: usize,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
    ) -> Self {
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            return self.after_call(index);
        }
        let (copied, stack) = (self.copied(instruction), self.stack(instruction));
        if instruction.rflags_modified() != 0 {
            self.flags = self.compared(instruction);
        }
        let used = info.info(instruction);
        for register in used.used_registers().iter().filter(|used| is_write(used.access())) {
            if let Some(number) = number(*register) {
                self.registers[number] = Value::Unknown;
            }
        }
        self.touched |= used.used_memory().iter().any(|used| is_write(used.access()));
        if let Some(stack) = stack {
            self.registers[RSP] = stack;
        }
        if let Some((number, value)) = copied {
            self.registers[number] = value;
        }
        self
    }

    fn after_call(mut self, index: usize) -> Self {
        let returned = Value::Returned(index);
        for (number, value) in self.registers.iter_mut().enumerate() {
            // What it returned the last time is another value.
            if !KEPT.contains(&number) || *value == returned {
                *value = Value::Unknown;
            }
        }
        self.registers[RAX] = returned;
        self.flags = Value::Unknown;
        self.touched = true;
        self
    }

    /// The register that an instruction copies a value to, and that value, where that is known.
    fn copied(&self, instruction: &Instruction) -> Option<(usize, Value)> {
        let is_whole = match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 => true,
            Code::Mov_r32_rm32 | Code::Mov_rm32_r32 => false,
            Code::Lea_r64_m => return Some((gpr(instruction, 0)?, Value::Frame(self.address(instruction)?))),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 => {
                return self.moved(instruction);
            }
            _ => return None,
        };
        let into = gpr(instruction, 0)?;
        let value = match instruction.op1_kind() {
            OpKind::Register => self.registers[gpr(instruction, 1)?],
            OpKind::Memory => Value::Word(self.address(instruction)?),
            _ => return None,
        };
        let is_half = matches!(value, Value::Returned(_) | Value::Result | Value::Word(_));
        (is_whole || is_half).then_some((into, value))
    }

    /// An address in the frame, with a constant added to it or subtracted from it.
    fn moved(&self, instruction: &Instruction) -> Option<(usize, Value)> {
        let into = gpr(instruction, 0)?;
        let Value::Frame(place) = self.registers[into] else { return None };
        let by = i32::try_from(instruction.try_immediate(1).ok()?.cast_signed()).ok()?;
        let is_sum = instruction.mnemonic() == Mnemonic::Add;
        let moved = if is_sum { place.checked_add(by) } else { place.checked_sub(by) };
        Some((into, Value::Frame(moved?)))
    }

    /// Where an instruction's operand in memory is in the frame.
    fn address(&self, instruction: &Instruction) -> Option<i32> {
        let base = instruction.memory_base();
        let is_plain =
            instruction.memory_index() == Register::None && instruction.segment_prefix() == Register::None;
        if !base.is_gpr64() || !is_plain {
            return None;
        }
        let Value::Frame(place) = self.registers[base.number()] else { return None };
        place.checked_add(i32::try_from(instruction.memory_displacement64().cast_signed()).ok()?)
    }

    /// Where the stack ends after an instruction that moves its end as a part of what it does.
    fn stack(&self, instruction: &Instruction) -> Option<Value> {
        let (from, by) = match instruction.mnemonic() {
            Mnemonic::Push => (RSP, instruction.stack_pointer_increment()),
            Mnemonic::Pop if gpr(instruction, 0) != Some(RSP) => (RSP, instruction.stack_pointer_increment()),
            Mnemonic::Leave => (RBP, 8),
            _ => return None,
        };
        Some(match self.registers[from] {
            Value::Frame(place) => place.checked_add(by).map_or(Value::Unknown, Value::Frame),
            _ => Value::Unknown,
        })
    }

    /// What an instruction compares with 0.
    fn compared(&self, instruction: &Instruction) -> Value {
        let register = instruction.op0_register();
        let compares = match instruction.code() {
            Code::Test_rm32_r32 => instruction.op1_register() == register,
            Code::Cmp_rm32_imm8 | Code::Cmp_rm32_imm32 | Code::Cmp_EAX_imm32 => {
                instruction.try_immediate(1).is_ok_and(|immediate| immediate == 0)
            }
            _ => false,
        };
        match gpr(instruction, 0) {
            Some(number) if compares => self.registers[number],
            _ => Value::Unknown,
        }
    }
}

/// What is known before each instruction that is reached from `start`, before which `state` is known.
///
/// It ends: at each instruction, what is known only becomes less, at most as often as there are registers.
pub(super) fn flow(listing: &Listing<'_>, start: usize, state: &State) -> Vec<Option<State>> {
    let mut info = InstructionInfoFactory::new();
    let mut states: Vec<Option<State>> = vec![None; listing.instructions().len()];
    states[start] = Some(*state);
    let mut next = vec![start];
    while let Some(index) = next.pop() {
        let Some(state) = states[index] else { continue };
        let after = state.after(index, &listing.instructions()[index], &mut info);
        for way in listing.ways(index).both() {
            let Way::To(target) = way else { continue };
            let is_less = match &mut states[target] {
                Some(known) => known.meet(&after),
                unknown => {
                    *unknown = Some(after);
                    true
                }
            };
            if is_less {
                next.push(target);
            }
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::{RAX, RSP, State, Value, flow};
    use crate::libraries::x86_64::listing::Listing;

    /// What is known behind all of these instructions, the last of which is `nop`.
    fn after(code: &[u8]) -> State {
        let listing = Listing::new(code).expect("these are instructions");
        let states = flow(&listing, 0, &State::at_start());
        states.last().copied().flatten().expect("the last is reached")
    }

    #[test]
    fn the_stack_is_followed() {
        for (code, stack) in [
            // push rbx; sub rsp, 0x18.
            (&[0x53, 0x48, 0x83, 0xec, 0x18, 0x90][..], Value::Frame(-0x20)),
            // push rbp; mov rbp, rsp; sub rsp, 0x100; leave.
            (&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x81, 0xec, 0, 1, 0, 0, 0xc9, 0x90], Value::Frame(0)),
            // lea rsp, [rsp - 0x80]; add rsp, 0x80; pop rbx.
            (&[0x48, 0x8d, 0x64, 0x24, 0x80, 0x48, 0x83, 0xec, 0x80, 0x5b, 0x90], Value::Frame(8)),
            // and rsp, -0x10; pop rsp.
            (&[0x48, 0x83, 0xe4, 0xf0, 0x90], Value::Unknown),
            (&[0x5c, 0x90], Value::Unknown),
            // A call leaves it as it was.
            (&[0xe8, 0, 0, 0, 0, 0x90], Value::Frame(0)),
        ] {
            assert_eq!(after(code).registers[RSP], stack, "{code:x?}");
        }
    }

    #[test]
    fn arguments_and_what_was_returned_are_followed() {
        const RDI: usize = 7;
        const R12: usize = 12;
        // mov r12, rdi; call; mov rdi, r12.
        let state = after(&[0x49, 0x89, 0xfc, 0xe8, 0, 0, 0, 0, 0x4c, 0x89, 0xe7, 0x90]);
        assert_eq!(state.registers[RDI], Value::Argument(0));
        assert_eq!(state.registers[RAX], Value::Returned(1));
        assert!(state.touched);
        // Half of an argument is none: mov edi, edi.
        assert_eq!(after(&[0x89, 0xff, 0x90]).registers[RDI], Value::Unknown);
        // A byte of it written is none: mov dil, 1.
        assert_eq!(after(&[0x40, 0xb7, 0x01, 0x90]).registers[RDI], Value::Unknown);
        // call; mov r12d, eax; test r12d, r12d.
        let state = after(&[0xe8, 0, 0, 0, 0, 0x41, 0x89, 0xc4, 0x45, 0x85, 0xe4, 0x90]);
        assert_eq!(state.registers[R12], Value::Returned(0));
        assert_eq!(state.flags, Value::Returned(0));
        // The same call again returns something else: call; mov r12d, eax; js to the call.
        let state = after(&[0xe8, 0, 0, 0, 0, 0x41, 0x89, 0xc4, 0x78, 0xf6, 0x90]);
        assert_eq!(state.registers[RAX], Value::Returned(0));
        assert_eq!(state.registers[R12], Value::Returned(0));
        // mov r12d, eax; call; js to the move.
        let state = after(&[0x41, 0x89, 0xc4, 0xe8, 0, 0, 0, 0, 0x78, 0xf6, 0x90]);
        assert_eq!(state.registers[R12], Value::Unknown);
    }

    #[test]
    fn comparisons_with_nothing_are_followed() {
        for (code, flags) in [
            // test edx, edx; cmp edx, 0, in both of its forms.
            (&[0x85, 0xd2, 0x90][..], Value::Argument(2)),
            (&[0x83, 0xfa, 0x00, 0x90], Value::Argument(2)),
            (&[0x81, 0xfa, 0, 0, 0, 0, 0x90], Value::Argument(2)),
            // Moves leave flags as they are: mov rcx, rsp.
            (&[0x85, 0xd2, 0x48, 0x89, 0xe1, 0x90], Value::Argument(2)),
            // cmp edx, 1; test edx, ecx; test dl, dl; test rdx, rdx, whose sign is another.
            (&[0x83, 0xfa, 0x01, 0x90], Value::Unknown),
            (&[0x85, 0xca, 0x90], Value::Unknown),
            (&[0x84, 0xd2, 0x90], Value::Unknown),
            (&[0x48, 0x85, 0xd2, 0x90], Value::Unknown),
            // Others write flags: xor eax, eax.
            (&[0x85, 0xd2, 0x31, 0xc0, 0x90], Value::Unknown),
            (&[0x85, 0xd2, 0xe8, 0, 0, 0, 0, 0x90], Value::Unknown),
        ] {
            assert_eq!(after(code).flags, flags, "{code:x?}");
        }
    }

    #[test]
    fn words_of_the_frame_are_followed() {
        for (code, value) in [
            // sub rsp, 0x18; mov eax, [rsp + 8].
            (&[0x48, 0x83, 0xec, 0x18, 0x8b, 0x44, 0x24, 0x08, 0x90][..], Value::Word(-0x10)),
            // push rbp; mov rbp, rsp; mov eax, [rbp - 0x10].
            (&[0x55, 0x48, 0x89, 0xe5, 0x8b, 0x45, 0xf0, 0x90], Value::Word(-0x18)),
            // mov eax, [rdi]; mov eax, [rsp + rsi]; mov rax, fs:[rsp].
            (&[0x8b, 0x07, 0x90], Value::Unknown),
            (&[0x8b, 0x04, 0x34, 0x90], Value::Unknown),
            (&[0x64, 0x48, 0x8b, 0x04, 0x24, 0x90], Value::Unknown),
            // mov ax, [rsp].
            (&[0x66, 0x8b, 0x04, 0x24, 0x90], Value::Unknown),
        ] {
            assert_eq!(after(code).registers[RAX], value, "{code:x?}");
        }
    }

    #[test]
    fn what_ways_disagree_on_is_not_known() {
        const RDI: usize = 7;
        // js over: mov rdi, rsi.
        let state = after(&[0x78, 0x03, 0x48, 0x89, 0xf7, 0x90]);
        assert_eq!(state.registers[RDI], Value::Unknown);
        assert!(!state.touched);
        // js over: mov [rdi], eax.
        assert!(after(&[0x78, 0x02, 0x89, 0x07, 0x90]).touched);
    }
}
