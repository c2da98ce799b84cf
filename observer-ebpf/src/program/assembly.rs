//! What takes an instruction that the compiler does not make of its own: the BPF instruction set's atomic
//! operations (`Documentation/bpf/standardization/instruction-set.rst`, "Atomic operations"), of which `core`
//! offers none for this target, and a value that the compiler must not reason about.

use core::arch::asm;

/// Adds to a counter that several processors may write.
///
/// # Safety
///
/// `counter` must be a pointer that the verifier knows as one to eight aligned bytes of a map.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {value}", counter = in(reg) counter, value = in(reg) value)
    }
}

/// Adds, and returns what was there before.
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u64, value: u64) -> u64 {
    let mut before = value;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({counter} + 0), {value})",
            counter = in(reg) counter, value = inout(reg) before);
    }
    before
}

/// Stores, and returns what was there before.
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub unsafe fn exchange(place: *mut u64, value: u64) -> u64 {
    let mut before = value;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{value} = xchg_64({place} + 0, {value})", place = in(reg) place, value = inout(reg) before);
    }
    before
}

/// Stores where `before` is found: tells whether it was.
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub unsafe fn compare_exchange(place: *mut u64, before: u64, after: u64) -> bool {
    let mut found = before;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("r0 = cmpxchg_64({place} + 0, r0, {after})", place = in(reg) place, after = in(reg) after,
            inout("r0") found);
    }
    found == before
}

/// Has every processor see what was written before this ahead of what is written after it.
///
/// x86-64 keeps all writes in order. arm64 does not, and version 3 of the instruction set has no write that waits for
/// others; but an atomic operation that fetches is a full barrier.
#[inline(always)]
pub fn order_writes() {
    #[cfg(bpf_target_arch = "aarch64")]
    {
        let mut word = 0;
        // SAFETY: eight aligned bytes, of the stack, where the verifier allows it as well.
        unsafe { fetch_add(&raw mut word, 0) };
    }
}

/// Loads eight bytes that need not be aligned. The compiler would load them one by one, as not every
/// processor could; those that BPF is compiled for here can.
///
/// # Safety
///
/// `from` must be a pointer that the verifier knows as one to eight bytes.
#[inline(always)]
pub unsafe fn load(from: *const u8) -> u64 {
    let value;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{value} = *(u64 *)({from} + 0)", from = in(reg) from, value = lateout(reg) value,
            options(readonly, nostack));
    }
    value
}

/// The value, of which the compiler then knows nothing. Without it a mask that the compiler can prove to be
/// idle is left out, and the verifier, which cannot prove it, refuses the access behind it. For a value in memory,
/// `hide_field` in the library does the same.
#[inline(always)]
pub fn hide(value: u64) -> u64 {
    let mut hidden = value;
    // SAFETY: a register moved to itself. (An empty text would leave a line number without an instruction,
    // which the kernel refuses.)
    unsafe { asm!("{value} = {value}", value = inout(reg) hidden, options(pure, nomem, nostack)) };
    hidden
}

/// Makes use of a value, so that the compiler has it there.
#[inline(always)]
pub fn keep(value: u64) {
    // SAFETY: a register moved to itself.
    unsafe { asm!("{value} = {value}", value = inout(reg) value => _, options(nomem, nostack)) };
}
