//! What the agent sets before the program is loaded: constants to the verifier and to the JIT.
//!
//! `OFFSET_*` are byte offsets of the members in [`observer_ebpf::members`], resolved from the running kernel's BTF; 0
//! where it has none, and no program that reads it is loaded then, unless it looks at that first.

use aya_ebpf::Global;
use observer_ebpf::layout::control::Thresholds;

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub static $name: Global<$type> = Global::new($value);)*
    };
}

globals! {
    /// Connections that may be tracked at once.
    MAX_CONNECTIONS: u32 = 0;
    /// Slots: as many, and room for those that closed since the agent last looked.
    CAPACITY: u32 = 0;
    THRESHOLD_MEDIUM: u64 = Thresholds::DEFAULT.medium;
    THRESHOLD_LARGE: u64 = Thresholds::DEFAULT.large;
    THRESHOLD_HUGE: u64 = Thresholds::DEFAULT.huge;

    /// The byte that ends a segment of a cache key.
    KEY_SEPARATOR: u32 = b':' as u32;
    /// How many segments a prefix has.
    KEY_SEGMENTS: u32 = 1;
    /// How many entries `KEY_SKIPS` has.
    KEY_SKIPS_COUNT: u32 = 0;

    /// Routes told apart for each process and server.
    HTTP_MAX_ROUTES: u32 = 200;
    /// How many templates of routes are given.
    HTTP_TEMPLATES: u32 = 0;
    /// How long a response without length takes at least to be a stream, in nanoseconds.
    HTTP_STREAM_AFTER_NS: u64 = 10_000_000_000;

    /// 1 where there are spare programs: see `calls/spares.rs`.
    HAS_SPARES: u32 = 0;

    /// 1 where calls of TLS libraries are seen, 2 where libraries that are mapped later are attached to as well: see
    /// `libraries.rs`.
    LIBRARIES: u32 = 0;
    /// The first of the entries of `BUFFERS` that such calls share, see `libraries/rooms.rs`.
    LIBRARY_ROOM: u32 = 0;

    /// The agent's pid namespace (`ns_common.inum`); 0 for the host's.
    PID_NAMESPACE: u32 = 0;
}

/// A constant for each member of the table.
macro_rules! offsets {
    ($(#[$doc:meta])* $group:ident: $($global:ident = $structure:ident $(. $path:ident)+ $(| $other:ident)*;)*) => {
        $(
            #[doc = concat!("In `struct ", stringify!($structure), "`.")]
            #[unsafe(no_mangle)]
            pub static $global: Global<u32> = Global::new(0);
        )*
    };
}

observer_ebpf::kernel_members!(offsets);
#[cfg(bpf_target_arch = "x86_64")]
observer_ebpf::kernel_registers_x86_64!(offsets);
#[cfg(bpf_target_arch = "aarch64")]
observer_ebpf::kernel_registers_aarch64!(offsets);

/// The thresholds of oversized messages.
#[inline(always)]
pub fn thresholds() -> Thresholds {
    Thresholds { medium: THRESHOLD_MEDIUM.load(), large: THRESHOLD_LARGE.load(), huge: THRESHOLD_HUGE.load() }
}
