//! What is known of registers before an instruction, on one way that leads to it.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, Register, UsedMemory};
use observer_ebpf::layout::library::SessionLayout;

use crate::libraries::x86_64::registers::{ARGUMENTS, KEPT, RAX, gpr, is_write, number};

/// Bytes of an address.
const ADDRESS: u8 = 8;
/// Bytes of half a register: writing them makes the others 0.
const HALF: u8 = 4;

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The function's first argument's, which is the session.
    Argument,
    /// That of what a function returned that was called.
    Returned,
}

/// A place that belongs to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Where in the session the address of the part is that has it, if that is not the session itself.
    pub(super) part: Option<u16>,
    /// Where in the session, or in that part.
    pub(super) offset: u16,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// Not known.
    Unknown,
    /// A number that the function itself has.
    Constant,
    /// The function's second argument.
    Out,
    /// The address of a place.
    Address { owner: Owner, place: Place },
    /// So many bytes that were at a place, and above them zeros.
    Read { owner: Owner, place: Place, bytes: u8 },
}

impl Value {
    /// The address of the very start of a session.
    const fn start(owner: Owner) -> Self {
        Self::Address { owner, place: Place { part: None, offset: 0 } }
    }

    /// The byte that this is the address of.
    pub(super) fn first_byte(self) -> Self {
        match self {
            Self::Address { owner, place } => Self::Read { owner, place, bytes: 1 },
            _ => Self::Unknown,
        }
    }

    /// The lower half of it, and zeros.
    fn half(self) -> Self {
        match self {
            Self::Constant => Self::Constant,
            Self::Read { owner, place, bytes } => Self::Read { owner, place, bytes: bytes.min(HALF) },
            _ => Self::Unknown,
        }
    }

    /// What lies so many bytes behind what this is the address of. What was read in a session may be the address of one
    /// of its parts; of the parts' parts no more is known.
    fn behind(self, by: i64) -> Self {
        let (owner, part, from) = match self {
            Self::Address { owner, place } => (owner, place.part, place.offset),
            Self::Read { owner, place: Place { part: None, offset }, bytes: ADDRESS } => {
                (owner, Some(offset), 0)
            }
            _ => return Self::Unknown,
        };
        i64::from(from)
            .checked_add(by)
            .and_then(|offset| u16::try_from(offset).ok())
            .filter(|&offset| offset < SessionLayout::END)
            .map_or(Self::Unknown, |offset| Self::Address { owner, place: Place { part, offset } })
    }
}

/// What is known before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// What each register holds.
    pub(super) registers: [Value; 16],
}

impl State {
    /// At the start of a function that has a session as its first argument.
    pub(super) fn at_start() -> Self {
        let mut registers = [Value::Unknown; 16];
        registers[ARGUMENTS[0]] = Value::start(Owner::Argument);
        registers[ARGUMENTS[1]] = Value::Out;
        Self { registers }
    }

    /// What is known after an instruction.
    pub(super) fn after(mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) -> Self {
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            for (number, value) in self.registers.iter_mut().enumerate() {
                if !KEPT.contains(&number) {
                    *value = Value::Unknown;
                }
            }
            self.registers[RAX] = Value::start(Owner::Returned);
            return self;
        }
        let set = self.set(instruction);
        let used = info.info(instruction);
        for register in used.used_registers().iter().filter(|used| is_write(used.access())) {
            if let Some(number) = number(*register) {
                self.registers[number] = Value::Unknown;
            }
        }
        if let Some((number, value)) = set {
            self.registers[number] = value;
        }
        self
    }

    /// The register that an instruction sets to something that is known, and that.
    fn set(&self, instruction: &Instruction) -> Option<(usize, Value)> {
        let into = gpr(instruction, 0)?;
        let value = match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 => match gpr(instruction, 1) {
                Some(from) => self.registers[from],
                None => self.read(instruction, ADDRESS),
            },
            Code::Mov_r32_rm32 | Code::Mov_rm32_r32 => match gpr(instruction, 1) {
                Some(from) => self.registers[from].half(),
                None => self.read(instruction, HALF),
            },
            Code::Movzx_r32_rm16 | Code::Movzx_r64_rm16 => self.read(instruction, 2),
            Code::Movzx_r32_rm8 | Code::Movzx_r64_rm8 => self.read(instruction, 1),
            Code::Lea_r64_m => self.address(instruction),
            Code::Add_rm64_imm8
            | Code::Add_rm64_imm32
            | Code::Add_RAX_imm32
            | Code::Sub_rm64_imm8
            | Code::Sub_rm64_imm32
            | Code::Sub_RAX_imm32 => {
                let by = instruction.try_immediate(1).ok()?.cast_signed();
                let is_sum = instruction.mnemonic() == Mnemonic::Add;
                self.registers[into].behind(if is_sum { by } else { by.checked_neg()? })
            }
            Code::Mov_r32_imm32 | Code::Mov_rm32_imm32 | Code::Mov_rm64_imm32 | Code::Mov_r64_imm64 => {
                Value::Constant
            }
            Code::Xor_r32_rm32 | Code::Xor_rm32_r32 if gpr(instruction, 1) == Some(into) => Value::Constant,
            _ => return None,
        };
        Some((into, value))
    }

    /// The address of an instruction's operand in memory.
    fn address(&self, instruction: &Instruction) -> Value {
        let base = instruction.memory_base();
        let is_plain =
            instruction.memory_index() == Register::None && instruction.segment_prefix() == Register::None;
        if !base.is_gpr64() || !is_plain {
            return Value::Unknown;
        }
        let by = instruction.memory_displacement64().cast_signed();
        match self.registers[base.number()] {
            Value::Out if by == 0 => Value::Out,
            value => value.behind(by),
        }
    }

    /// What an instruction reads from its operand in memory, which has so many bytes.
    fn read(&self, instruction: &Instruction, bytes: u8) -> Value {
        match self.address(instruction) {
            Value::Address { owner, place } => Value::Read { owner, place, bytes },
            _ => Value::Unknown,
        }
    }

    /// What an instruction writes to the start of the function's second argument, if it does.
    pub(super) fn written_to_out(
        &self,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
    ) -> Option<Value> {
        let mut used = info.info(instruction).used_memory().iter();
        if !used.any(|used| is_write(used.access()) && self.is_out(used)) {
            return None;
        }
        let source = instruction.op1_register();
        Some(match instruction.code() {
            // The lowest byte of a register, which is the first in memory; not `ah` and its like.
            Code::Mov_rm64_r64 | Code::Mov_rm32_r32 | Code::Mov_rm16_r16 | Code::Mov_rm8_r8
                if !matches!(source, Register::AH | Register::BH | Register::CH | Register::DH) =>
            {
                self.registers[source.full_register().number()]
            }
            Code::Movsb_m8_m8 | Code::Movsw_m16_m16 | Code::Movsd_m32_m32 | Code::Movsq_m64_m64 => {
                self.registers[ARGUMENTS[1]].first_byte()
            }
            _ => Value::Unknown,
        })
    }

    fn is_out(&self, used: &UsedMemory) -> bool {
        let base = used.base();
        let is_plain =
            used.index() == Register::None && !matches!(used.segment(), Register::FS | Register::GS);
        let holds_out = base.is_gpr64() && self.registers[base.number()] == Value::Out;
        is_plain && used.displacement() == 0 && holds_out
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::InstructionInfoFactory;

    use super::{Owner, Place, RAX, State, Value};
    use crate::libraries::x86_64::listing::Listing;

    /// What `rax` holds behind all of these instructions, none of which jumps.
    fn rax(code: &[u8]) -> Value {
        let mut info = InstructionInfoFactory::new();
        let listing = Listing::new(code).expect("these are instructions");
        let all = listing.instructions().iter();
        all.fold(State::at_start(), |state, instruction| state.after(instruction, &mut info)).registers[RAX]
    }

    const fn at(part: Option<u16>, offset: u16) -> Value {
        Value::Address { owner: Owner::Argument, place: Place { part, offset } }
    }

    const fn read(part: Option<u16>, offset: u16, bytes: u8) -> Value {
        Value::Read { owner: Owner::Argument, place: Place { part, offset }, bytes }
    }

    #[test]
    fn addresses_are_followed() {
        for (code, value) in [
            // mov rax, rdi; mov rax, rsi; lea rax, [rsi].
            (&[0x48, 0x89, 0xf8][..], at(None, 0)),
            (&[0x48, 0x89, 0xf0], Value::Out),
            (&[0x48, 0x8d, 0x06], Value::Out),
            // lea rax, [rdi + 0x160]; then add rax, 0x10, or sub rax, -0x10, or add rax, 0x100.
            (&[0x48, 0x8d, 0x87, 0x60, 1, 0, 0], at(None, 0x160)),
            (&[0x48, 0x8d, 0x87, 0x60, 1, 0, 0, 0x48, 0x83, 0xc0, 0x10], at(None, 0x170)),
            (&[0x48, 0x8d, 0x87, 0x60, 1, 0, 0, 0x48, 0x83, 0xe8, 0xf0], at(None, 0x170)),
            (&[0x48, 0x8d, 0x87, 0x60, 1, 0, 0, 0x48, 0x05, 0, 1, 0, 0], at(None, 0x260)),
            // mov rax, [rdi + 0x30]; add rax, 8. And mov rax, [rax + 8]; add rax, 8: too far.
            (&[0x48, 0x8b, 0x47, 0x30, 0x48, 0x83, 0xc0, 0x08], at(Some(0x30), 8)),
            (&[0x48, 0x8b, 0x47, 0x30, 0x48, 0x8b, 0x40, 0x08], read(Some(0x30), 8, 8)),
            (&[0x48, 0x8b, 0x47, 0x30, 0x48, 0x8b, 0x40, 0x08, 0x48, 0x83, 0xc0, 0x08], Value::Unknown),
            // Half of an address is none: mov eax, edi; mov eax, [rdi + 0x30]; add rax, 8.
            (&[0x89, 0xf8], Value::Unknown),
            (&[0x8b, 0x47, 0x30, 0x48, 0x83, 0xc0, 0x08], Value::Unknown),
            // Before the session, and far behind it: lea rax, [rdi - 8]; lea rax, [rdi + 0x1000].
            (&[0x48, 0x8d, 0x47, 0xf8], Value::Unknown),
            (&[0x48, 0x8d, 0x87, 0, 0x10, 0, 0], Value::Unknown),
            // lea rax, [rdi + rdx]; lea rax, [rsi + 8]; lea rax, [rip]; lea eax, [rdi + 8].
            (&[0x48, 0x8d, 0x04, 0x17], Value::Unknown),
            (&[0x48, 0x8d, 0x46, 0x08], Value::Unknown),
            (&[0x48, 0x8d, 0x05, 0, 0, 0, 0], Value::Unknown),
            (&[0x8d, 0x47, 0x08], Value::Unknown),
        ] {
            assert_eq!(rax(code), value, "{code:x?}");
        }
    }

    #[test]
    fn what_is_read_is_followed() {
        for (code, value) in [
            // mov eax, [rdi + 0x38]; movzx eax, word; movzx eax, byte; mov rax.
            (&[0x8b, 0x47, 0x38][..], read(None, 0x38, 4)),
            (&[0x0f, 0xb7, 0x47, 0x38], read(None, 0x38, 2)),
            (&[0x0f, 0xb6, 0x47, 0x38], read(None, 0x38, 1)),
            (&[0x48, 0x8b, 0x47, 0x38], read(None, 0x38, 8)),
            // The last, and mov eax, eax.
            (&[0x48, 0x8b, 0x47, 0x38, 0x89, 0xc0], read(None, 0x38, 4)),
            // mov eax, fs:[rdi + 0x38]; mov al, [rdi + 0x38]; mov eax, [rdi + 0x38]; and eax, 1; mov al, 1.
            (&[0x64, 0x8b, 0x47, 0x38], Value::Unknown),
            (&[0x8a, 0x47, 0x38], Value::Unknown),
            (&[0x8b, 0x47, 0x38, 0x83, 0xe0, 0x01], Value::Unknown),
            (&[0x8b, 0x47, 0x38, 0xb0, 0x01], Value::Unknown),
            // xor eax, eax; mov eax, 1; xor eax, ecx.
            (&[0x31, 0xc0], Value::Constant),
            (&[0xb8, 1, 0, 0, 0], Value::Constant),
            (&[0x31, 0xc8], Value::Unknown),
        ] {
            assert_eq!(rax(code), value, "{code:x?}");
        }
    }

    #[test]
    fn calls_keep_some_registers_and_return_something_else() {
        let returned = Value::start(Owner::Returned);
        // mov rbx, rdi; call; then nothing, or mov rax, rbx, or mov rax, rdi.
        let call = [0x48, 0x89, 0xfb, 0xe8, 0, 0, 0, 0, 0x90];
        assert_eq!(rax(&call), returned);
        assert_eq!(rax(&[&call[..], &[0x48, 0x89, 0xd8]].concat()), at(None, 0));
        assert_eq!(rax(&[&call[..], &[0x48, 0x89, 0xf8]].concat()), Value::Unknown);
    }
}
