//! Layouts by functions that compilers made, and by ones put together to try each rule.

use proptest::prelude::*;

use super::{Place, client_random, find, is_server};
use crate::libraries::layout::Code;
use crate::libraries::points::LONGEST;
use crate::libraries::x86_64::listing::Listing;
use observer_ebpf::layout::library::SessionLayout;

mod fixtures;

fn layout(client_random: &[u8], is_server: &[u8]) -> Option<SessionLayout> {
    find(Code { client_random, is_server })
}

/// Where the function `SSL_get_client_random` has it from, if it consists of these parts.
fn random(parts: &[&[u8]]) -> Option<Place> {
    let code = parts.concat();
    assert!(Listing::new(&code).is_some(), "these are no instructions: {code:x?}");
    client_random(&code)
}

/// The same of the function `SSL_is_server`.
fn server(parts: &[&[u8]]) -> Option<Place> {
    let code = parts.concat();
    assert!(Listing::new(&code).is_some(), "these are no instructions: {code:x?}");
    is_server(&code)
}

/// A place in the session itself.
fn at(offset: u16) -> Place {
    Place { part: None, offset }
}

/// `mov eax, [rdi + 0x60]`, and `+ 0x70`.
const READ: &[u8] = &[0x8b, 0x47, 0x60];
const READ_OTHER: &[u8] = &[0x8b, 0x47, 0x70];
/// `mov [rsi], eax`.
const WRITE: &[u8] = &[0x89, 0x06];
/// `ret`.
const RET: &[u8] = &[0xc3];
/// `call` elsewhere, and `jmp` there.
const CALL: &[u8] = &[0xe8, 0, 1, 0, 0];
const JMP: &[u8] = &[0xe9, 0, 1, 0, 0];
/// `lea rax, [rdi + 0x60]; mov rdi, rsi; mov rsi, rax`: what `memcpy` is called with.
const HAND_OVER: &[u8] = &[0x48, 0x8d, 0x47, 0x60, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xc6];

#[test]
fn compilers_functions_are_understood() {
    for (client_random, is_server, expected) in [
        // OpenSSL 3.0, by gcc.
        (&fixtures::DEBIAN_CLIENT_RANDOM[..], &fixtures::DEBIAN_IS_SERVER[..], (None, 0x160, 0x38)),
        (&fixtures::NODE_CLIENT_RANDOM, &fixtures::NODE_IS_SERVER, (None, 0x160, 0x38)),
        // OpenSSL 3.5, by gcc, and by clang, which calls `memcpy`.
        (&fixtures::PSYCOPG_CLIENT_RANDOM, &fixtures::PSYCOPG_IS_SERVER, (None, 0x188, 0x78)),
        (&fixtures::NODE_26_CLIENT_RANDOM, &fixtures::NODE_26_IS_SERVER, (None, 0x188, 0x78)),
        // OpenSSL 1.1.1, by gcc.
        (&fixtures::PSYCOPG2_CLIENT_RANDOM, &fixtures::PSYCOPG2_IS_SERVER, (Some(0xA8), 0xB8, 0x38)),
    ] {
        let (part, random, is_server_at) = expected;
        let expected = SessionLayout::new(part, random, is_server_at);
        assert!(expected.is_some());
        assert_eq!(layout(client_random, is_server), expected);
        // Neither function can be taken for the other.
        assert_eq!(layout(is_server, client_random), None);
        assert_eq!(layout(client_random, client_random), None);
        assert_eq!(layout(is_server, is_server), None);
    }
}

#[test]
fn all_ways_to_copy_are_understood() {
    assert_eq!(random(&[READ, WRITE, RET]), Some(at(0x60)));
    // movzx eax, byte [rdi + 0x60]; mov [rsi], al.
    assert_eq!(random(&[&[0x0f, 0xb6, 0x47, 0x60, 0x88, 0x06], RET]), Some(at(0x60)));
    // movzx eax, word [rdi + 0x60]; mov [rsi], ax.
    assert_eq!(random(&[&[0x0f, 0xb7, 0x47, 0x60, 0x66, 0x89, 0x06], RET]), Some(at(0x60)));
    // mov rax, [rdi + 0x60]; mov [rsi], rax.
    assert_eq!(random(&[&[0x48, 0x8b, 0x47, 0x60, 0x48, 0x89, 0x06], RET]), Some(at(0x60)));
    assert_eq!(random(&[HAND_OVER, CALL, RET]), Some(at(0x60)));
    assert_eq!(random(&[HAND_OVER, JMP]), Some(at(0x60)));
    // call [rip]; jmp if it is 0, by which it is left, too.
    assert_eq!(random(&[HAND_OVER, &[0xff, 0x15, 0, 0, 0, 0], RET]), Some(at(0x60)));
    assert_eq!(random(&[HAND_OVER, &[0x0f, 0x84, 0, 1, 0, 0], RET]), Some(at(0x60)));
    // rep movsb; rep movsq.
    assert_eq!(random(&[HAND_OVER, &[0xf3, 0xa4], RET]), Some(at(0x60)));
    assert_eq!(random(&[HAND_OVER, &[0xf3, 0x48, 0xa5], RET]), Some(at(0x60)));
    // mov rdi, [rdi + 0x30]: all of this in a part.
    let part = &[0x48, 0x8b, 0x7f, 0x30];
    let expected = Some(Place { part: Some(0x30), offset: 0x60 });
    assert_eq!(random(&[part, READ, WRITE, RET]), expected);
    assert_eq!(random(&[part, HAND_OVER, CALL, RET]), expected);
}

#[test]
fn a_random_that_is_not_one_place_is_none() {
    // Twice; or, by test edx, edx; je, one or the other.
    assert_eq!(random(&[READ, WRITE, READ_OTHER, WRITE, RET]), None);
    let either = |first: &[u8], second: &[u8]| {
        // je over the first and the jmp, to the second; both then write.
        let (over, end) = (first.len() as u8 + 2, second.len() as u8);
        random(&[&[0x85, 0xd2, 0x74, over], first, &[0xeb, end], second, WRITE, RET])
    };
    assert_eq!(either(READ, READ_OTHER), None);
    assert_eq!(either(READ, READ), Some(at(0x60)));
    // xor eax, eax: what it writes then is not from the session.
    assert_eq!(either(READ, &[0x31, 0xc0]), None);
    // add eax, eax: nor is this.
    assert_eq!(random(&[READ, &[0x01, 0xc0], WRITE, RET]), None);
    // Nothing is written, or to another place: mov [rsi + 8], eax; mov [rsi + rdx], eax; mov [rdx], eax.
    assert_eq!(random(&[READ, RET]), None);
    assert_eq!(random(&[READ, &[0x89, 0x46, 0x08], RET]), None);
    assert_eq!(random(&[READ, &[0x89, 0x04, 0x16], RET]), None);
    assert_eq!(random(&[READ, &[0x89, 0x02], RET]), None);
    // mov fs:[rsi], eax.
    assert_eq!(random(&[READ, &[0x64, 0x89, 0x06], RET]), None);
    // mov [rsi], ah: another byte of it.
    assert_eq!(random(&[READ, &[0x88, 0x26], RET]), None);
    // mov dword [rsi], 0; inc byte [rsi]; movups [rsi], xmm0: once more, by other instructions.
    for other in [&[0xc7, 0x06, 0, 0, 0, 0][..], &[0xfe, 0x06], &[0x0f, 0x11, 0x06]] {
        assert_eq!(random(&[READ, WRITE, other, RET]), None, "{other:x?}");
    }
    // The session itself is handed over: xchg rdi, rsi, which is not followed; mov rax, rdi in place of lea.
    assert_eq!(random(&[&[0x48, 0x87, 0xf7], CALL, RET]), None);
    assert_eq!(random(&[&[0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xc6], CALL, RET]), None);
    // And so is a part of it as a whole: mov rax, [rdi + 0x60] in place of lea.
    assert_eq!(random(&[&[0x48, 0x8b, 0x47, 0x60, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xc6], CALL, RET]), None);
    // Something else is handed over first: mov rdi, rsi; mov rsi, rdx.
    let other = &[0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6];
    assert_eq!(random(&[other, CALL, RET]), None);
    // What a call leaves of the registers: nothing.
    assert_eq!(random(&[HAND_OVER, CALL, CALL, RET]), Some(at(0x60)));
    assert_eq!(random(&[CALL, READ, WRITE, RET]), None);
}

#[test]
fn another_session_must_be_the_same() {
    // push rbx; mov rbx, rsi; test edx, edx; je over the call to the copy; call; mov rdi, rax; mov rsi, rbx.
    let either = |before: &[u8], after_call: &[u8]| {
        let call = [CALL, &[0x48, 0x89, 0xc7, 0x48, 0x89, 0xde], after_call].concat();
        let over = [0x85, 0xd2, 0x74, call.len() as u8];
        random(&[&[0x53, 0x48, 0x89, 0xf3], before, &over, &call, READ, WRITE, RET])
    };
    assert_eq!(either(&[], &[]), Some(at(0x60)));
    // add rdi, 0x10, on that way only, or before on the other.
    assert_eq!(either(&[], &[0x48, 0x83, 0xc7, 0x10]), None);
    assert_eq!(either(&[0x48, 0x83, 0xc7, 0x10], &[]), None);
    // And the session that a call has returned is not enough: call; mov eax, [rax + 0x60]; mov [rbx], eax.
    let only = &[0x8b, 0x40, 0x60, 0x89, 0x03];
    assert_eq!(random(&[&[0x48, 0x89, 0xf3], CALL, only, RET]), None);
}

#[test]
fn whether_it_is_a_server_is_one_word_that_is_returned() {
    assert_eq!(server(&[READ, RET]), Some(at(0x60)));
    // By another register: mov ecx, [rdi + 0x60]; mov eax, ecx.
    assert_eq!(server(&[&[0x8b, 0x4f, 0x60, 0x89, 0xc8], RET]), Some(at(0x60)));
    // test rdi, rdi; je to xor eax, eax, or to mov eax, 1, or to or eax, -1, which is not followed.
    let or = |other: &[u8]| server(&[&[0x48, 0x85, 0xff, 0x74, 0x04], READ, RET, other, RET]);
    assert_eq!(or(&[0x31, 0xc0]), Some(at(0x60)));
    assert_eq!(or(&[0xb8, 1, 0, 0, 0]), Some(at(0x60)));
    assert_eq!(or(&[0x83, 0xc8, 0xff]), None);
    // What was in eax at the start, another word, a part of one, and what a call returns.
    assert_eq!(or(&[]), None);
    assert_eq!(or(READ_OTHER), None);
    assert_eq!(or(&[0x8b, 0x47, 0x60, 0x83, 0xe0, 0x01]), None);
    assert_eq!(or(CALL), None);
    // Left by a jump, or by running on into what follows: it is not known what is returned.
    assert_eq!(or(JMP), None);
    assert_eq!(server(&[READ, &[0x90]]), None);
    // A constant alone, 64 bits, a byte, the session's first word, and a word of a part.
    assert_eq!(server(&[&[0x31, 0xc0], RET]), None);
    assert_eq!(server(&[&[0x48, 0x8b, 0x47, 0x60], RET]), None);
    assert_eq!(server(&[&[0x0f, 0xb6, 0x47, 0x60], RET]), None);
    assert_eq!(server(&[&[0x8b, 0x07], RET]), None);
    let in_part: &[&[u8]] = &[&[0x48, 0x8b, 0x7f, 0x30], READ, RET];
    assert_eq!(server(in_part), Some(Place { part: Some(0x30), offset: 0x60 }));
    // Of which a layout cannot tell.
    assert_eq!(layout(&fixtures::DEBIAN_CLIENT_RANDOM, &in_part.concat()), None);
}

#[test]
fn places_that_are_too_far_away_are_not_known() {
    // mov eax, [rdi + 0xffc], and + 0x1000, and - 8.
    let read = |offset: i32| [&[0x8b, 0x87][..], &offset.to_le_bytes()].concat();
    assert_eq!(server(&[&read(0xFFC), RET]), Some(at(0xFFC)));
    assert_eq!(server(&[&read(0x1000), RET]), None);
    assert_eq!(server(&[&read(-8), RET]), None);
    assert_eq!(server(&[&read(i32::MIN), RET]), None);
}

#[test]
fn strange_functions_have_no_layout() {
    let good = (&fixtures::DEBIAN_CLIENT_RANDOM[..], &fixtures::DEBIAN_IS_SERVER[..]);
    // Nothing, no instruction, one cut short, a jump to what a register says, and one that is too long.
    for strange in [&[][..], &[0x06], &[0x8b, 0x47], &[0xff, 0xe0], &[0x90; LONGEST + 1]] {
        assert_eq!(layout(strange, good.1), None);
        assert_eq!(layout(good.0, strange), None);
    }
}

/// The longest functions, made so that there are as many ways as can be, take no time to speak of.
#[test]
fn ways_that_are_too_many_are_not_followed() {
    // Each of these doubles what may be known: je over mov r8, rdi; je over mov r9, rdi; and so on.
    let doubled = |register: u8| [0x74, 0x03, 0x49, 0x89, 0xf8 | register];
    let few = (0..4).map(doubled).collect::<Vec<_>>().concat();
    assert_eq!(random(&[&few, READ, WRITE, RET]), Some(at(0x60)));
    // Counting adds something new at each turn: lea rcx, [rdi + 1]; add rcx, 1; jne back to it.
    let count = &[0x48, 0x8d, 0x4f, 0x01, 0x48, 0x83, 0xc1, 0x01, 0x75, 0xfa];
    let since = std::time::Instant::now();
    assert_eq!(random(&[&few, count, READ, WRITE, RET]), None);
    // Jumps over moves of all registers, which all lead back to the start.
    let mut code = Vec::new();
    while code.len() + 16 < LONGEST {
        code.extend(doubled((code.len() % 7) as u8));
        code.extend([0x0f, 0x84]);
        let to_start = -i32::try_from(code.len() + 4).expect("it is small");
        code.extend(to_start.to_le_bytes());
    }
    assert_eq!(random(&[&code, READ, WRITE, RET]), None);
    assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
}

/// Instructions that functions consist of, some of them jumps of a random distance.
fn instructions() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(vec![
        READ,
        READ_OTHER,
        WRITE,
        RET,
        CALL,
        HAND_OVER,
        &[0xf3, 0xa4],
        &[0x48, 0x8b, 0x7f, 0x30],
        &[0x48, 0x83, 0xc7, 0x10],
        &[0x48, 0x89, 0xc7],
        &[0x48, 0x89, 0xde],
        &[0x31, 0xc0],
    ]);
    let jump = (prop::sample::select(vec![0x74_u8, 0x78, 0xeb]), any::<i8>())
        .prop_map(|(kind, distance)| vec![kind, distance.cast_unsigned()]);
    let one = prop_oneof![3 => whole.prop_map(<[u8]>::to_vec), 1 => jump];
    prop::collection::vec(one, 0..40).prop_map(|parts| parts.concat())
}

/// One of the real functions, with some of its bytes written over.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(vec![
        fixtures::DEBIAN_CLIENT_RANDOM.to_vec(),
        fixtures::PSYCOPG_CLIENT_RANDOM.to_vec(),
        fixtures::NODE_26_CLIENT_RANDOM.to_vec(),
        fixtures::PSYCOPG_IS_SERVER.to_vec(),
    ]);
    (whole, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)).prop_map(
        |(mut code, changes)| {
            for (index, byte) in changes {
                *index.get_mut(&mut code) = byte;
            }
            code
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_taken(code in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&code);
    }

    #[test]
    fn any_instructions_are_taken(code in instructions()) {
        check(&code);
    }

    #[test]
    fn any_changes_are_taken(code in spoilt()) {
        check(&code);
    }
}

/// What holds of all places, whatever the function.
fn check(code: &[u8]) {
    for place in [client_random(code), is_server(code)].into_iter().flatten() {
        assert!((1..SessionLayout::END).contains(&place.offset));
        assert!(place.part.is_none_or(|part| part < SessionLayout::END));
    }
    if let Some(layout) = layout(code, code) {
        assert_eq!(SessionLayout::new(layout.part, layout.random, layout.is_server), Some(layout));
    }
}
