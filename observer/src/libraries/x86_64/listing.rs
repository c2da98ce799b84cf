//! A function's instructions, and where each leads.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

use crate::libraries::points::LONGEST;

/// Where one of an instruction's two ways leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// There is no such way.
    None,
    /// To the instruction of this number.
    To(usize),
    /// Out of the function: a return, or a jump elsewhere.
    Out,
}

/// Both ways of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways {
    /// If it jumps.
    pub(crate) jump: Way,
    /// If it does not.
    pub(crate) next: Way,
}

impl Ways {
    /// One after the other.
    pub(crate) fn both(self) -> [Way; 2] {
        [self.jump, self.next]
    }
}

/// All instructions of a function, one after the other.
pub(crate) struct Listing<'a> {
    code: &'a [u8],
    instructions: Vec<Instruction>,
    ways: Vec<Ways>,
    /// Of each instruction, whether another jumps to it.
    jumped_to: Vec<bool>,
}

impl<'a> Listing<'a> {
    /// Disassembles a function. `None` if there is more or less than instructions, or if not all is known of where they
    /// lead: where one jumps to what a register or a table says, or into the middle of another.
    pub(crate) fn new(code: &'a [u8]) -> Option<Self> {
        if code.is_empty() || code.len() > LONGEST {
            return None;
        }
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        let mut instructions = Vec::new();
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return None;
            }
            instructions.push(instruction);
        }
        let ways = (0..instructions.len())
            .map(|index| ways(&instructions, index, code.len() as u64))
            .collect::<Option<Vec<_>>>()?;
        let mut jumped_to = vec![false; instructions.len()];
        for ways in &ways {
            if let Way::To(target) = ways.jump {
                jumped_to[target] = true;
            }
        }
        Some(Self { code, instructions, ways, jumped_to })
    }

    /// The instructions.
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Where an instruction leads.
    pub(crate) fn ways(&self, index: usize) -> Ways {
        self.ways[index]
    }

    /// Whether an instruction jumps to this one.
    pub(crate) fn is_jumped_to(&self, index: usize) -> bool {
        self.jumped_to[index]
    }

    /// Where an instruction starts, in bytes from the function's start.
    pub(crate) fn place(&self, index: usize) -> u64 {
        self.instructions[index].ip()
    }

    /// An instruction's bytes.
    pub(crate) fn bytes(&self, index: usize) -> &'a [u8] {
        let from = self.place(index) as usize;
        &self.code[from..from + self.instructions[index].len()]
    }
}

/// Where an instruction leads, or `None` if that is not known.
fn ways(instructions: &[Instruction], index: usize, end: u64) -> Option<Ways> {
    let instruction = &instructions[index];
    let is_last = index + 1 == instructions.len();
    let next = if is_last { Way::Out } else { Way::To(index + 1) };
    Some(match instruction.flow_control() {
        FlowControl::ConditionalBranch => Ways { jump: target(instructions, instruction, end)?, next },
        FlowControl::UnconditionalBranch => {
            Ways { jump: target(instructions, instruction, end)?, next: Way::None }
        }
        FlowControl::Return => Ways { jump: Way::None, next: Way::Out },
        // What a compiler puts at a function's end does not return.
        FlowControl::Call | FlowControl::IndirectCall if is_last => Ways { jump: Way::None, next: Way::None },
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => Ways { jump: Way::None, next },
        // `ud2` and its like.
        FlowControl::Exception => Ways { jump: Way::None, next: Way::None },
        FlowControl::Interrupt if instruction.code() == Code::Int3 => {
            Ways { jump: Way::None, next: Way::None }
        }
        FlowControl::Interrupt | FlowControl::IndirectBranch | FlowControl::XbeginXabortXend => return None,
    })
}

/// Where a jump leads, or `None` if that is the middle of an instruction, or told by other than a distance.
fn target(instructions: &[Instruction], instruction: &Instruction, end: u64) -> Option<Way> {
    if instruction.op0_kind() != OpKind::NearBranch64 {
        return None;
    }
    let target = instruction.near_branch_target();
    if target >= end {
        return Some(Way::Out);
    }
    instructions.binary_search_by_key(&target, Instruction::ip).ok().map(Way::To)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Listing, Way, Ways};

    fn ways(code: &[u8]) -> Option<Vec<Ways>> {
        Listing::new(code)
            .map(|listing| (0..listing.instructions().len()).map(|at| listing.ways(at)).collect())
    }

    fn only(way: Way) -> Ways {
        Ways { jump: Way::None, next: way }
    }

    #[test]
    fn instructions_lead_to_one_another_and_out() {
        // js +1; ret; jmp -5; jmp far behind; call at the end.
        let code = [0x78, 0x01, 0xc3, 0xeb, 0xfb, 0xe9, 0, 1, 0, 0, 0xe8, 0, 0, 0, 0];
        assert_eq!(
            ways(&code).expect("these are instructions"),
            [
                Ways { jump: Way::To(2), next: Way::To(1) },
                only(Way::Out),
                Ways { jump: Way::To(0), next: Way::None },
                Ways { jump: Way::Out, next: Way::None },
                only(Way::None),
            ]
        );
        // A call that is not the last, ud2, int3, and what runs on into what follows.
        assert_eq!(
            ways(&[0xe8, 0, 0, 0, 0, 0x90]).expect("so are these"),
            [only(Way::To(1)), only(Way::Out)]
        );
        assert_eq!(ways(&[0x0f, 0x0b, 0xcc]).expect("so are these"), [only(Way::None), only(Way::None)]);
        // Before the start is out, too, and so is what follows the end.
        assert_eq!(ways(&[0xeb, 0x00]).expect("and this"), [Ways { jump: Way::Out, next: Way::None }]);
        assert_eq!(ways(&[0xeb, 0x80]).expect("and this"), [Ways { jump: Way::Out, next: Way::None }]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for code in [
            &[][..],
            // Cut short, and no instruction.
            &[0x48, 0x83],
            &[0x06],
            // To what a register says, to what a table says, into the middle of an instruction, and a system call.
            &[0xff, 0xe0],
            &[0xff, 0x24, 0xc5, 0, 0, 0, 0],
            &[0x78, 0x01, 0x48, 0x89, 0xc3],
            &[0xcd, 0x80],
            // A transaction.
            &[0xc7, 0xf8, 0, 0, 0, 0, 0x90],
            &[0x90; LONGEST + 1],
        ] {
            assert!(ways(code).is_none(), "{code:x?}");
        }
        assert!(ways(&[0x90; LONGEST]).is_some());
    }
}
