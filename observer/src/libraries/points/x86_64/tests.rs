//! Points on functions that compilers made, and on ones put together to try each rule.

use proptest::prelude::*;

use observer_ebpf::layout::library::ResultPlace;

use super::super::{Exit, Function, LONGEST, Point, Points, find};
use crate::libraries::elf::Machine;

mod fixtures;

/// Where the functions start in their files.
const OFFSET: u64 = 0x1000;

fn points(function: Function, code: &[u8]) -> Points {
    find(Machine::X86_64, function, code, OFFSET)
}

/// The entry at a place in the function, and whether it is emulated.
fn entry(at: u64, emulated: bool) -> Point {
    Point { offset: OFFSET + at, emulated }
}

fn at(at: u64, result: ResultPlace) -> Exit {
    Exit::At { offset: OFFSET + at, result }
}

/// What there is where nothing could be proven.
fn unproven(emulated: bool) -> Points {
    Points { entry: entry(0, emulated), exit: Exit::Return }
}

/// Code from parts.
fn code(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `SSL_read` as Debian's compiler makes it, without what watches over the stack, from these parts.
struct Shape {
    head: &'static [u8],
    before_call: &'static [u8],
    after_call: &'static [u8],
    end: &'static [u8],
}

/// `sub rsp, 0x18; test edx, edx`, and the jump if the length is less than 0, to `or eax, -1; jmp` to the end.
const HEAD: &[u8] = &[0x48, 0x83, 0xec, 0x18, 0x85, 0xd2];
/// `mov rcx, rsp; movsxd rdx, edx`.
const BEFORE_CALL: &[u8] = &[0x48, 0x89, 0xe1, 0x48, 0x63, 0xd2];
/// `test eax, eax; jle` to the end; `mov eax, [rsp]`.
const AFTER_CALL: &[u8] = &[0x85, 0xc0, 0x7e, 0x03, 0x8b, 0x04, 0x24];
/// `add rsp, 0x18; ret`.
const END: &[u8] = &[0x48, 0x83, 0xc4, 0x18, 0xc3];
/// `call` elsewhere.
const CALL: &[u8] = &[0xe8, 0, 1, 0, 0];

const USUAL: Shape = Shape { head: HEAD, before_call: BEFORE_CALL, after_call: AFTER_CALL, end: END };

impl Shape {
    fn code(&self) -> Vec<u8> {
        let to_end = self.before_call.len() + CALL.len() + self.after_call.len();
        let to_negative = to_end + self.end.len();
        // or eax, -1 (3 bytes); jmp (2 bytes) back to the end.
        let back = -((self.end.len() + 3 + 2) as i8);
        code(&[
            self.head,
            &[0x78, to_negative as u8],
            self.before_call,
            CALL,
            self.after_call,
            self.end,
            &[0x83, 0xc8, 0xff, 0xeb, back.cast_unsigned()],
        ])
    }

    fn points(&self) -> Points {
        points(Function::Read, &self.code())
    }
}

#[test]
fn debian_s_functions_have_both_points_moved() {
    for (function, code) in [
        (Function::Read, &fixtures::DEBIAN_READ),
        (Function::Write, &fixtures::DEBIAN_WRITE),
        (Function::Peek, &fixtures::DEBIAN_PEEK),
    ] {
        let expected = Points { entry: entry(0x16, true), exit: at(0x25, ResultPlace::StackWord(0)) };
        assert_eq!(points(function, code), expected, "{function:?}");
    }
    // Behind the call there is nothing that is emulated.
    assert_eq!(points(Function::ReadEx, &fixtures::DEBIAN_READ_EX), unproven(false));
}

#[test]
fn node_s_functions_start_well_and_need_return_probes() {
    // All of its ways end in `pop` and `ret`, and the result is chosen by `cmov`.
    assert_eq!(points(Function::Read, &fixtures::NODE_READ), unproven(true));
    assert_eq!(points(Function::Write, &fixtures::NODE_WRITE), unproven(true));
    let expected = Points { entry: entry(3, true), exit: Exit::Unneeded };
    assert_eq!(points(Function::Free, &fixtures::NODE_FREE), expected);
}

#[test]
fn clang_s_functions_have_both_points() {
    // `push rax` makes room for the word. Calls of a length less than 0 return elsewhere.
    for (function, code, exit) in
        [(Function::Read, &fixtures::RUST_READ[..], 0x11), (Function::Write, &fixtures::RUST_WRITE, 0x13)]
    {
        let expected = Points { entry: entry(0, true), exit: at(exit, ResultPlace::StackWord(0)) };
        assert_eq!(points(function, code), expected, "{function:?}");
    }
}

#[test]
fn the_usual_shape_is_proven() {
    let expected = Points { entry: entry(6, true), exit: at(0x15, ResultPlace::StackWord(0)) };
    assert_eq!(USUAL.points(), expected);
    // The same jump says nothing of a length that has no sign.
    assert_eq!(points(Function::ReadEx, &USUAL.code()), unproven(false));
    // cmp edx, 0 in place of test edx, edx.
    let shape = Shape { head: &[0x48, 0x83, 0xec, 0x18, 0x83, 0xfa, 0x00], ..USUAL };
    let expected = Points { entry: entry(7, true), exit: at(0x16, ResultPlace::StackWord(0)) };
    assert_eq!(shape.points(), expected);
}

#[test]
fn a_frame_pointer_and_a_mark_for_jumps_are_understood() {
    // endbr64; push rbp; mov rbp, rsp; sub rsp, 0x10; test edx, edx: as Ubuntu's and Fedora's compilers begin.
    let head = &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x85, 0xd2];
    // lea rcx, [rbp - 8]; movsxd rdx, edx.
    let before_call = &[0x48, 0x8d, 0x4d, 0xf8, 0x48, 0x63, 0xd2];
    // test eax, eax; jle; mov eax, [rbp - 8]; then leave; ret.
    let after_call = &[0x85, 0xc0, 0x7e, 0x03, 0x8b, 0x45, 0xf8];
    let shape = Shape { head, before_call, after_call, end: &[0xc9, 0xc3] };
    let expected = Points { entry: entry(4, true), exit: at(0x1e, ResultPlace::StackWord(8)) };
    assert_eq!(shape.points(), expected);
}

#[test]
fn a_copy_of_the_result_and_the_other_condition_are_understood() {
    // mov ebx, eax; test ebx, ebx; jg +2; jmp +3; mov ebx, [rsp + 4]; mov eax, ebx: a word at another place.
    let after_call = &[0x89, 0xc3, 0x85, 0xdb, 0x7f, 0x02, 0xeb, 0x04, 0x8b, 0x5c, 0x24, 0x04, 0x89, 0xd8];
    let shape = Shape { after_call, ..USUAL };
    let expected = Points { entry: entry(6, true), exit: at(0x17, ResultPlace::StackWord(4)) };
    assert_eq!(shape.points(), expected);
}

#[test]
fn where_all_ways_return_eax_nothing_else_is_read() {
    // test eax, eax; je +0.
    let shape = Shape { after_call: &[0x85, 0xc0, 0x74, 0x00], ..USUAL };
    let expected = Points { entry: entry(6, true), exit: at(0x15, ResultPlace::Returned) };
    assert_eq!(shape.points(), expected);
    // nop.
    let shape = Shape { after_call: &[0x90], ..USUAL };
    assert_eq!(shape.points().exit, at(0x13, ResultPlace::Returned));
    // What chooses without a jump has its result behind it: test eax, eax; cmovg eax, [rsp]; jmp +0, or nothing.
    let shape = Shape { after_call: &[0x85, 0xc0, 0x0f, 0x4f, 0x04, 0x24, 0xeb, 0x00], ..USUAL };
    assert_eq!(shape.points().exit, at(0x19, ResultPlace::Returned));
    let shape = Shape { after_call: &[0x85, 0xc0, 0x0f, 0x4f, 0x04, 0x24], ..USUAL };
    assert_eq!(shape.points(), unproven(false));
}

#[test]
fn exits_are_not_proven_where_the_result_may_be_another() {
    for (after_call, why) in [
        (&[0x85, 0xc0, 0x7e, 0x03, 0x8b, 0x04, 0x34][..], "mov eax, [rsp + rsi]: it is not known where"),
        (&[0x85, 0xc0, 0x7e, 0x02, 0x8b, 0x07], "mov eax, [rdi]: nor here"),
        (&[0x85, 0xc0, 0x7c, 0x03, 0x8b, 0x04, 0x24], "jl: 0 is not told by eax alone"),
        (&[0x48, 0x85, 0xc0, 0x7e, 0x03, 0x8b, 0x04, 0x24], "test rax, rax: all 64 bits"),
        (&[0x85, 0xd2, 0x7e, 0x03, 0x8b, 0x04, 0x24], "test edx, edx: another register"),
        (&[0x85, 0xc0, 0x7e, 0x03, 0x66, 0x8b, 0x04, 0x24], "mov ax, [rsp]: half a word"),
        (&[0x85, 0xc0, 0x7e, 0x05, 0xb8, 1, 0, 0, 0], "mov eax, 1: a constant"),
        (&[0x85, 0xc0, 0x7e, 0x03, 0x8b, 0x04, 0x24, 0x89, 0x07], "mov [rdi], eax: it goes on to write"),
        (&[0x85, 0xc0, 0x7e, 0x03, 0x8b, 0x04, 0x24, 0xe8, 0, 1, 0, 0], "call: or to call"),
        (
            &[0x85, 0xc0, 0x7e, 0x06, 0xc7, 0x04, 0x24, 0, 0, 0, 0, 0x8b, 0x04, 0x24],
            "mov dword [rsp], 0 first",
        ),
    ] {
        assert_eq!(Shape { after_call, ..USUAL }.points(), unproven(false), "{why}");
    }
    // A word that was read before the call: mov ebx, [rsp]; then mov eax, ebx.
    let (before_call, after_call) = (&[0x8b, 0x1c, 0x24], &[0x85, 0xc0, 0x7e, 0x02, 0x89, 0xd8]);
    assert_eq!(Shape { before_call, after_call, ..USUAL }.points(), unproven(false));
    // On two ways that each return: nop; test ecx, ecx; je +4; mov eax, [rsp]; ret.
    let after_call = &[0x90, 0x85, 0xc9, 0x74, 0x04, 0x8b, 0x04, 0x24, 0xc3];
    assert_eq!(Shape { after_call, ..USUAL }.points(), unproven(false));
}

#[test]
fn exits_are_not_proven_where_a_call_may_miss_or_repeat_them() {
    // test eax, eax; jne back to the test, or jle to the call: it may be executed more than once.
    for after_call in [&[0x85, 0xc0, 0x75, 0xfc], &[0x85, 0xc0, 0x7e, 0xf7]] {
        assert_eq!(Shape { after_call, ..USUAL }.points(), unproven(false));
    }
    // test rsi, rsi; je to the end, before the call: it may be missed.
    let before_call = &[0x48, 0x89, 0xe1, 0x48, 0x63, 0xd2, 0x48, 0x85, 0xf6, 0x74, 0x0c];
    assert_eq!(Shape { before_call, ..USUAL }.points(), unproven(false));
    // A jump out of the function, before the call.
    let before_call = &[0x0f, 0x84, 0, 1, 0, 0];
    assert_eq!(Shape { before_call, ..USUAL }.points(), unproven(false));
    // A jump out in place of the return, which another function then does.
    let end = &[0x48, 0x83, 0xc4, 0x18, 0xe9, 0, 1, 0, 0];
    assert_eq!(Shape { end, ..USUAL }.points(), unproven(false));
    // A jump to the function's start: test rsi, rsi; je; call; nop; ret.
    let again = code(&[&[0x48, 0x85, 0xf6, 0x74, 0xfb], CALL, &[0x90, 0xc3]]);
    assert_eq!(points(Function::Read, &again), unproven(false));
    // A jump to what a register says, anywhere.
    let mut table = USUAL.code();
    table.extend([0xff, 0xe0]);
    assert_eq!(points(Function::Read, &table), unproven(false));
    // The jump that a length of less than 0 takes is known only while the length is: mov edx, esi first.
    let shape = Shape { head: &[0x48, 0x83, 0xec, 0x18, 0x89, 0xf2, 0x85, 0xd2], ..USUAL };
    assert_eq!(shape.points(), unproven(false));
    // And only by its sign: je in place of js.
    let mut zero = USUAL.code();
    zero[HEAD.len()] = 0x74;
    assert_eq!(points(Function::Read, &zero), unproven(false));
}

#[test]
fn a_call_that_does_not_return_ends_its_way() {
    // Behind the return: call, as of `__stack_chk_fail`, which `jne` in the end leads to.
    let shape = Shape { end: &[0x75, 0x0a, 0x48, 0x83, 0xc4, 0x18, 0xc3], ..USUAL };
    let mut code = shape.code();
    code.extend(CALL);
    let expected = Points { entry: entry(6, true), exit: at(0x15, ResultPlace::StackWord(0)) };
    assert_eq!(points(Function::Read, &code), expected);
    // What is not a call, and runs on into what follows, may be anything.
    code.push(0x90);
    assert_eq!(points(Function::Read, &code), unproven(false));
}

#[test]
fn entries_stay_where_arguments_are() {
    // xor and je; ret on each way: nothing is wanted of the end, and the entry is what is looked at.
    let free = |head: &[u8]| points(Function::Free, &code(&[head, &[0x74, 0x00, 0xc3]])).entry;
    assert_eq!(free(&[0x48, 0x85, 0xff]), entry(3, true), "test rdi, rdi");
    assert_eq!(free(&[0x53]), entry(0, true), "push rbx is emulated itself");
    assert_eq!(free(&[0x48, 0x83, 0xec, 0x08, 0x41, 0x55]), entry(4, true), "push r13 behind sub");
    assert_eq!(free(&[0x31, 0xf6, 0x31, 0xd2]), entry(4, true), "other arguments may be overwritten");
    assert_eq!(free(&[0x31, 0xff]), entry(0, false), "xor edi, edi overwrites this");
    assert_eq!(free(&[0x40, 0xb7, 0x01]), entry(0, false), "and mov dil, 1 a part of it");
    assert_eq!(free(&[0x48, 0x87, 0xf7]), entry(0, false), "xchg rdi, rsi");
    assert_eq!(
        free(&[0x48, 0x85, 0xff, 0xe8, 0, 1, 0, 0, 0x90]),
        entry(0, false),
        "a call is none to move to"
    );
    assert_eq!(free(&[0x48, 0x85, 0xff, 0x0f, 0x1f, 0x00]), entry(6, true), "a nop of three bytes");
    // The other way: what is only reached if a jump is not taken is not on every way.
    let points = points(Function::Free, &[0xe3, 0x01, 0x90, 0xc3]);
    assert_eq!(points.entry, entry(0, false), "jrcxz, which is not emulated, and nop");
}

#[test]
fn all_arguments_of_a_function_must_be_there() {
    // sub rsp, 8; xor ecx, ecx; nop; ret.
    let code = [0x48, 0x83, 0xec, 0x08, 0x31, 0xc9, 0x90, 0x90, 0xc3];
    // With xor edx, edx.
    let second = [0x48, 0x83, 0xec, 0x08, 0x31, 0xd2, 0x90, 0x90, 0xc3];
    // mov eax, eax is no result of anything: the exit at the second nop is proven, as eax is what is returned.
    assert_eq!(points(Function::Read, &code).entry, entry(6, true));
    assert_eq!(points(Function::ReadEx, &code).entry, entry(0, false));
    assert_eq!(points(Function::DoHandshake, &second).entry, entry(6, true));
    assert_eq!(points(Function::Write, &second).entry, entry(0, false));
}

#[test]
fn entries_are_not_where_the_function_jumps_back_to() {
    // test rdi, rdi; nop; dec esi; jne back to the nop, to the test, or not at all; ret.
    let back = |distance: u8| {
        points(Function::Free, &[0x48, 0x85, 0xff, 0x90, 0xff, 0xce, 0x75, distance, 0xc3]).entry
    };
    assert_eq!(back(0xfb), entry(0, false));
    assert_eq!(back(0xf8), entry(0, false));
    assert_eq!(back(0x00), entry(3, true));
    // Into the middle of an instruction: nothing is proven.
    assert_eq!(back(0xf9), entry(0, false));
}

#[test]
fn strange_functions_have_their_first_instruction() {
    assert_eq!(points(Function::Read, &[]), unproven(false));
    assert_eq!(points(Function::Read, &[0x48]), unproven(false));
    assert_eq!(points(Function::Read, &[0x06, 0x90]), unproven(false));
    assert_eq!(points(Function::Read, &[0xe8, 0, 0, 0, 0, 0x06]), unproven(true));
    assert_eq!(points(Function::Read, &vec![0x90; LONGEST + 1]), unproven(true));
    // The file cannot be that long.
    let points = find(Machine::X86_64, Function::Free, &[0x48, 0x85, 0xff, 0x90, 0xc3], u64::MAX);
    assert_eq!(points.entry, Point { offset: u64::MAX, emulated: false });
}

/// Instructions that functions consist of, some of them jumps of a random distance.
fn instructions() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(vec![
        HEAD,
        BEFORE_CALL,
        AFTER_CALL,
        END,
        CALL,
        &[0x90],
        &[0x53],
        &[0x5b],
        &[0xc3],
        &[0xc9],
        &[0x31, 0xff],
        &[0x89, 0xc3],
        &[0x89, 0xd8],
        &[0x8b, 0x45, 0xf8],
        &[0x48, 0x89, 0xe5],
        &[0x0f, 0x4f, 0x04, 0x24],
    ]);
    let jump = (prop::sample::select(vec![0x74_u8, 0x78, 0x7e, 0x7f, 0xeb]), any::<i8>())
        .prop_map(|(kind, distance)| vec![kind, distance.cast_unsigned()]);
    let one = prop_oneof![3 => whole.prop_map(<[u8]>::to_vec), 2 => jump];
    prop::collection::vec(one, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_have_points(code in prop::collection::vec(any::<u8>(), 0..600)) {
        for function in Function::ALL {
            check(function, &code);
        }
    }

    #[test]
    fn any_instructions_have_points(code in instructions()) {
        for function in Function::ALL {
            check(function, &code);
        }
    }
}

/// What holds of all points, whatever the function.
fn check(function: Function, code: &[u8]) {
    let Points { entry, exit } = points(function, code);
    let place = |offset: u64| usize::try_from(offset - OFFSET).expect("it is small");
    assert!(entry.offset == OFFSET || place(entry.offset) < code.len());
    match exit {
        Exit::At { offset, .. } => {
            assert!(place(offset) < code.len() && offset != entry.offset);
            assert!(!function.ends_a_session());
        }
        Exit::Return => assert_eq!(entry.offset, OFFSET),
        Exit::Unneeded => assert!(function.ends_a_session()),
    }
}

/// The longest function that is looked into, made so that all is tried, takes no time to speak of.
#[test]
fn long_functions_end() {
    // Jumps to and fro over the whole function, and much that changes what is known.
    let mut code = Vec::new();
    while code.len() + 16 < LONGEST {
        code.extend([0x7e, 0x02, 0x89, 0xc3, 0x89, 0xd8, 0x0f, 0x84]);
        let to_start = -i32::try_from(code.len() + 4).expect("it is small");
        code.extend(to_start.to_le_bytes());
    }
    code.push(0xc3);
    let since = std::time::Instant::now();
    for function in Function::ALL {
        check(function, &code);
    }
    // And those that each way passes, of which each is tried.
    let mut code = [0x74, 0x00].repeat(LONGEST / 2 - 2);
    code.extend([0x31, 0xc0, 0xc3]);
    for function in Function::ALL {
        check(function, &code);
    }
    assert!(since.elapsed().as_secs() < 20, "{:?}", since.elapsed());
}
