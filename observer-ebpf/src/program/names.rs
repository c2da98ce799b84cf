//! Bounded names: their numbers, and what is counted under them: see [`observer_ebpf::layout::names`].

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{HashMap, PerCpuArray, PerCpuHashMap, Stack};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_map_update_elem};
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{AF_UNIX, Connection, UNIX_PATH_MAX};
use observer_ebpf::layout::names::{
    CROWDED, CountKey, KeyCounts, Name, Namespace, OTHER, Prefixes, SKIPS_MAX, ServiceKey,
};
use observer_ebpf::stream::names::{Keys, Names};
use observer_ebpf::stream::prefix::{LastPrefix, Text, Work, number_of};

use crate::calls::buffers::Buffers;
use crate::globals::{KEY_SEGMENTS, KEY_SEPARATOR, KEY_SKIPS_COUNT};
use crate::maps::{CONTROL, UNIX_PATHS};
use crate::{assembly, losses};

/// Numbers of processes and the servers that they have to do with. The agent removes those of processes that are gone.
#[btf_map]
static SERVICES: HashMap<ServiceKey, u64, 65_536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where a process and its server are put together to be looked up: an entry for each program that sees calls, as
/// `BUFFERS` has. It has a map of its own, for before Linux 6.2 a key may be on the stack or in a map's value, but not
/// behind an argument of a global function (`map_key_value_types` in `kernel/bpf/verifier.c`).
#[btf_map]
static SERVICE_KEYS: PerCpuArray<ServiceKey, 1> = PerCpuArray::new();

/// Where names are put together to be looked up, likewise.
#[btf_map]
static NAME_KEYS: PerCpuArray<Name, 1> = PerCpuArray::new();

/// Numbers of prefixes of cache keys. Its size is how many are told apart.
#[btf_map]
static PREFIXES: HashMap<Name, u64, 1> = HashMap::new();

/// Leading segments of cache keys that are stepped over. Written by the agent, before the programs are attached.
#[btf_map]
static KEY_SKIPS: HashMap<Name, u64, { SKIPS_MAX as usize }> = HashMap::new();

/// Numbers that may be given to prefixes.
#[btf_map]
static FREE_PREFIXES: Stack<u32, 1> = Stack::new();

/// Keys found and not found, by process and server and by prefix. When it is full, they are counted in the connection's
/// slot instead. For each processor, as a server has many connections, which move on several at once.
#[btf_map]
static PREFIX_COUNTS: PerCpuHashMap<CountKey, KeyCounts, 65_536, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// `BPF_NOEXIST` (`include/uapi/linux/bpf.h`).
pub const NO_EXIST: u64 = 1;

/// What a map has under a key; null if nothing.
///
/// # Safety
///
/// The map must have such keys and values.
#[inline(always)]
pub unsafe fn lookup<K, V>(map: *mut c_void, key: &K) -> *mut V {
    // SAFETY: the caller's promise.
    unsafe { bpf_map_lookup_elem(map, core::ptr::from_ref(key).cast_mut().cast()).cast() }
}

/// The number that a map has for a key.
///
/// # Safety
///
/// The key must be as the map has it, and the map's values must be numbers that are not written again.
#[inline(always)]
pub unsafe fn known<K>(map: *mut c_void, key: &K) -> Option<u32> {
    // SAFETY: the caller's promise; what is returned is null or a value.
    unsafe { lookup::<K, u64>(map, key).as_ref().map(|&number| number as u32) }
}

/// Gives a key a number in a map. False if it has one, or there is no room.
///
/// # Safety
///
/// As for [`known`].
#[inline(always)]
pub unsafe fn give<K>(map: *mut c_void, key: &K, number: u32) -> bool {
    let number = u64::from(number);
    // SAFETY: the caller's promise.
    unsafe {
        let key = core::ptr::from_ref(key).cast_mut().cast();
        bpf_map_update_elem(map, key, (&raw const number).cast_mut().cast(), NO_EXIST) == 0
    }
}

/// What a map has under a key, which is a first value if there was nothing. None if there is no room.
///
/// # Safety
///
/// The map must have such keys and values, and whatever is in a value may be written.
#[inline(always)]
pub unsafe fn entry<K, V>(
    map: *mut c_void,
    key: &K,
    first: impl FnOnce() -> Option<*const V>,
) -> Option<*mut V> {
    let place = core::ptr::from_ref(key).cast_mut().cast();
    // SAFETY: the caller's promise; what is returned is null or a value.
    unsafe {
        let present = lookup::<K, V>(map, key);
        if !present.is_null() {
            return Some(present);
        }
        // Another processor may come first.
        bpf_map_update_elem(map, place, first()?.cast_mut().cast(), NO_EXIST);
        let present = lookup::<K, V>(map, key);
        if present.is_null() { None } else { Some(present) }
    }
}

/// Gives a key one of the numbers that are free. None if there is none, the key has one, or there is no room.
///
/// # Safety
///
/// As for [`known`].
#[inline(always)]
pub unsafe fn give_free<K, const N: usize>(map: *mut c_void, key: &K, free: &Stack<u32, N>) -> Option<u32> {
    let Ok(Some(given)) = free.pop() else { return None };
    // SAFETY: the caller's promise.
    if unsafe { give(map, key, given) } {
        return Some(given);
    }
    let _ = free.push(given, 0);
    None
}

/// The number of a name, a new one if it has none; [`CROWDED`] if there is no place for it.
#[inline(always)]
pub fn numbered<const N: usize>(map: *mut c_void, name: &Name, free: &Stack<u32, N>) -> u32 {
    // SAFETY: a name is the key of every map of names, whose values are numbers.
    unsafe {
        known(map, name)
            .or_else(|| give_free(map, name, free))
            // Another processor may have come first.
            .or_else(|| known(map, name))
            .unwrap_or(CROWDED)
    }
}

/// The number of a prefix.
#[inline(always)]
fn prefix(name: &Name) -> u32 {
    numbered((&raw const PREFIXES).cast_mut().cast(), name, &FREE_PREFIXES)
}

/// How often places of a kind of names have been given to others: numbers that were kept from before are not to be used.
#[inline(always)]
pub fn epoch<N: Namespace>() -> u32 {
    CONTROL.get(0).map_or(0, |control| control.epochs[N::PLACE])
}

/// Counts a protocol's keys under a prefix, or under none if there is no place for that. False if there is no room to.
#[inline(never)]
fn count_keys(key: &CountKey, counts: &KeyCounts, protocol: u8) -> bool {
    let is_counted = key.service != 0 && add_keys(key, counts);
    if !is_counted || key.name == CROWDED {
        losses::unnamed(protocol, counts);
    }
    is_counted
}

/// Adds to the counts of a prefix. False if there is no room to.
#[inline(always)]
fn add_keys(key: &CountKey, counts: &KeyCounts) -> bool {
    let map = (&raw const PREFIX_COUNTS).cast_mut().cast();
    let place = core::ptr::from_ref(key).cast_mut().cast();
    // SAFETY: the key is as the map has it; what it returns is null or this processor's value.
    let present: *mut KeyCounts = unsafe { lookup(map, key) };
    if present.is_null() {
        // SAFETY: key and value are as the map has them; the other processors' values are set to zeroes.
        return unsafe {
            bpf_map_update_elem(map, place, core::ptr::from_ref(counts).cast_mut().cast(), NO_EXIST) == 0
        };
    }
    // A program that is interrupted here goes on with the same value.
    // SAFETY: fields of a map's value.
    unsafe {
        assembly::add(&raw mut (*present).hits, counts.hits);
        assembly::add(&raw mut (*present).misses, counts.misses);
    }
    true
}

/// Words of four bytes in a path.
const PATH_WORDS: usize = UNIX_PATH_MAX / 4;

/// Sets the words of a path, one at a time: as one value it would go by way of the stack.
#[inline(always)]
fn set_words(path: &mut [u8; UNIX_PATH_MAX], word: impl Fn(usize) -> u32) {
    let words = path.as_mut_ptr().cast::<u32>();
    let mut at = 0;
    while at < PATH_WORDS {
        // SAFETY: within the path, which is aligned to four bytes where it is in its structure.
        unsafe { words.add(at).write_volatile(word(at)) };
        at += 1;
    }
}

/// The number of the process and server of the connection at `index`, a new one if they have none; 0 if there is no
/// room. The program that asks has the entry `room` of [`SERVICE_KEYS`]. A global function, as the parsers' subprograms:
/// the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn names_service(connection: *const Connection, index: u32, room: u32) -> u32 {
    // SAFETY: null, or an entry of a map that nothing else uses while the direction is locked.
    let Some(connection) = (unsafe { connection.as_ref() }) else { return 0 };
    let Some(key) = SERVICE_KEYS.get_ptr_mut(room) else { return 0 };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let key = unsafe { &mut *key };
    key.owner = connection.owner;
    key.comm = connection.comm;
    key.family = connection.family;
    key.role = u32::from(connection.role);
    key.protocol = u32::from(connection.protocol);
    key.port = 0;
    set_words(&mut key.address, |_| 0);
    let is_server = connection.role == Role::Server as u8;
    if connection.family == AF_UNIX {
        if let Some(path) = UNIX_PATHS.get_ptr(index) {
            // SAFETY: a map's value, which is not written again while the slot is in use.
            let path = unsafe { &*path };
            let words = path.path.as_ptr().cast::<u32>();
            // SAFETY: within the path, which is aligned to four bytes where it is in its structure.
            set_words(&mut key.address, |at| unsafe { words.add(at).read() });
            key.port = path.length as u16;
        }
    } else {
        let (address, port) = if is_server {
            (&connection.local, connection.local_port)
        } else {
            (&connection.remote, connection.remote_port)
        };
        let mut at = 0;
        while at < address.len() {
            key.address[at] = address[at];
            at += 1;
        }
        key.port = port;
    }
    let map = (&raw const SERVICES).cast_mut().cast();
    // SAFETY: the key is as the map has it, whose values are never written again.
    if let Some(number) = unsafe { known(map, key) } {
        return number;
    }
    let Some(control) = CONTROL.get_ptr_mut(0) else { return 0 };
    // SAFETY: a field of a map's entry.
    let number = unsafe { assembly::fetch_add(&raw mut (*control).services, 1) } + 1;
    // SAFETY: the key is as the map has it, whose values are such numbers.
    if unsafe { give(map, key, number as u32) } {
        return number as u32;
    }
    // Another processor may have come first; or there is no room.
    // SAFETY: as above.
    unsafe { known(map, key) }.unwrap_or(0)
}

/// The number of the process and server of a connection; 0 if there is no room for them.
#[inline(always)]
pub fn service_of(connection: &mut Connection, buffers: &Buffers) -> u32 {
    if connection.service == 0 {
        connection.service = names_service(connection, buffers.index(), buffers.room());
    }
    connection.service
}

impl Names<Prefixes> for Buffers {
    #[inline(always)]
    fn number(&mut self, name: &Name) -> u32 {
        prefix(name)
    }

    #[inline(always)]
    fn epoch(&self) -> u32 {
        epoch::<Prefixes>()
    }

    #[inline(always)]
    fn count(&mut self, connection: &mut Connection, number: u32, counts: &KeyCounts) -> bool {
        let key = CountKey { service: service_of(connection, self), name: number };
        count_keys(&key, counts, connection.protocol)
    }
}

/// The name that was kept, where it can be looked up.
#[inline(always)]
fn kept_name(buffers: &mut Buffers, length: u32) -> Option<&'static Name> {
    let key = NAME_KEYS.get_ptr_mut(buffers.room())?;
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let key = unsafe { &mut *key };
    buffers.work().put(length, key);
    Some(key)
}

/// [`number_of`] a key: a function that the verifier checks on its own, wherever keys come from.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn key_prefix(
    text: *mut Text,
    last: *mut LastPrefix,
    buffers: *mut Buffers,
    length: u32,
    is_whole: u32,
) -> u32 {
    // SAFETY: null, or within entries of maps that nothing else uses while the direction is locked.
    let (text, last, buffers) = unsafe { (text.as_ref(), last.as_mut(), buffers.as_mut()) };
    let (Some(text), Some(last), Some(buffers)) = (text, last, buffers) else { return OTHER };
    number_of(text, last, length, is_whole != 0, buffers)
}

impl Keys for Buffers {
    #[inline(always)]
    fn separator(&self) -> u8 {
        KEY_SEPARATOR.load() as u8
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        KEY_SEGMENTS.load()
    }

    #[inline(always)]
    fn has_skips(&self) -> bool {
        KEY_SKIPS_COUNT.load() != 0
    }

    #[inline(always)]
    fn work(&mut self) -> &mut Work {
        Self::work(self)
    }

    #[inline(always)]
    fn is_skipped(&mut self, length: u32) -> bool {
        let Some(name) = kept_name(self, length) else { return false };
        // SAFETY: a name, as the map has it.
        unsafe { known((&raw const KEY_SKIPS).cast_mut().cast(), name) }.is_some()
    }

    #[inline(always)]
    fn kept_number(&mut self, length: u32) -> u32 {
        let Some(name) = kept_name(self, length) else { return CROWDED };
        prefix(name)
    }

    #[inline(always)]
    fn prefix(&mut self, text: &Text, last: &mut LastPrefix, length: u32, is_whole: bool) -> u32 {
        key_prefix(core::ptr::from_ref(text).cast_mut(), last, self, length, u32::from(is_whole))
    }
}
