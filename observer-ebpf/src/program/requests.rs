//! HTTP's requests, counted by name: the numbers of routes and authorities, and what is counted under them.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, Stack};
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::{CROWDED, NAME_MAX, Name};
use observer_ebpf::protocols::http::layout::{
    ANY, Authorities, Done, EVENTS, GivenTemplate, ROUTE_MAX, RequestCounts, RequestKey, RouteKey, Routes,
    TreeKey, UNMATCHED, WORDS,
};
use observer_ebpf::protocols::http::names::Labels;
use observer_ebpf::protocols::http::target::Template;
use observer_ebpf::stream::prefix::Text;

use crate::assembly;
use crate::calls::buffers::Buffers;
use crate::globals::{HTTP_MAX_ROUTES, HTTP_STREAM_AFTER_NS, HTTP_TEMPLATES};
use crate::names::{entry, epoch, give_free, known, lookup, numbered, service_of};

/// Numbers of routes, by process and server.
#[btf_map]
static ROUTES: HashMap<RouteKey, u64, 16_384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Numbers that may be given to routes.
#[btf_map]
static FREE_ROUTES: Stack<u32, 16_384> = Stack::new();

/// How many routes each process and server has, by their number.
#[btf_map]
static ROUTES_OF: HashMap<u32, u64, 65_536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where routes are put together to be looked up: an entry for each program that sees calls, as `SERVICE_KEYS` has.
#[btf_map]
static ROUTE_KEYS: PerCpuArray<Last<RouteKey>, 1> = PerCpuArray::new();

/// Given templates of routes, segment by segment. Written by the agent, before the programs are attached, as is the next.
#[btf_map]
static TEMPLATE_TREE: HashMap<TreeKey, u64, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// The templates, by the node that they end at.
#[btf_map]
static TEMPLATES: HashMap<u32, GivenTemplate, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where segments are put together to be looked up, as `ROUTE_KEYS` has.
#[btf_map]
static TREE_KEYS: PerCpuArray<TreeKey, 1> = PerCpuArray::new();

/// Numbers of authorities. Its size is how many are told apart.
#[btf_map]
static AUTHORITIES: HashMap<Name, u64, 100> = HashMap::new();

/// Numbers that may be given to authorities.
#[btf_map]
static FREE_AUTHORITIES: Stack<u32, 100> = Stack::new();

/// Where authorities are put together to be looked up, likewise.
#[btf_map]
static AUTHORITY_KEYS: PerCpuArray<Last<Name>, 1> = PerCpuArray::new();

/// Requests by process and server, route, authority, status and method. When it is full, and the next one is, they are
/// counted in the connection's slot as left out. For each processor, as a server has many connections, which move on
/// several at once.
#[btf_map]
static REQUEST_COUNTS: PerCpuHashMap<RequestKey, RequestCounts, 16_384, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// What finds no room there at once, likewise. In a program the kernel has memory for a few such values ready, and more
/// only a moment later (`kernel/bpf/memalloc.c`): too little for many new rows at a time. These have theirs beforehand,
/// so they are few, and the same for all processors.
#[btf_map]
static SPARE_COUNTS: HashMap<RequestKey, RequestCounts, 1024> = HashMap::new();

/// What an entry of either starts as.
#[btf_map]
static NO_REQUESTS: Array<RequestCounts, 1> = Array::new();

/// A name that was looked up last: mostly it is the next one, too, and its number need not be looked up again.
#[repr(C)]
struct Last<K> {
    /// It comes first, as a map's key.
    key: K,
    /// Its number; 0 if it has none that may be used again.
    number: u32,
    /// The entry of [`Control::epochs`](observer_ebpf::layout::control::Control::epochs) when it was looked up: numbers
    /// kept from before another one are not to be used.
    epoch: u32,
}

impl<K> Last<K> {
    /// Whether it has a number that may be used again.
    #[inline(always)]
    fn has(&self, epoch: u32) -> bool {
        self.epoch == epoch && self.number != 0
    }
}

/// The room for a route's key.
#[inline(always)]
fn route_room(room: u32) -> Option<&'static mut Last<RouteKey>> {
    let last = ROUTE_KEYS.get_ptr_mut(room)?;
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    Some(unsafe { &mut *last })
}

/// Whether a route is the one that was put together last.
#[inline(always)]
fn is_last_route(last: &Last<RouteKey>, template: &Template, service: u32) -> bool {
    let words = last.key.bytes.as_ptr().cast::<u32>();
    if last.key.length != template.length() || last.key.service != service {
        return false;
    }
    let mut at = 0;
    while at < ROUTE_MAX / 8 {
        // SAFETY: within the template, which is aligned to four bytes. Word by word, with a look at each: all of them
        // together would need more of the stack than there is.
        let (lo, hi) = unsafe { (words.add(2 * at).read_volatile(), words.add(2 * at + 1).read_volatile()) };
        if template.word(at) != u64::from(lo) | u64::from(hi) << 32 {
            return false;
        }
        at += 1;
    }
    true
}

/// Puts a route together where it can be looked up.
#[inline(always)]
fn put_route(last: &mut Last<RouteKey>, template: &Template, service: u32) {
    let words = last.key.bytes.as_mut_ptr().cast::<u32>();
    let mut at = 0;
    while at < ROUTE_MAX / 8 {
        let word = template.word(at);
        // SAFETY: within the template, which is aligned to four bytes; a word at a time, for as one value it would go
        // by way of the stack.
        unsafe {
            words.add(2 * at).write_volatile(word as u32);
            words.add(2 * at + 1).write_volatile((word >> 32) as u32);
        }
        at += 1;
    }
    last.key.length = template.length();
    last.key.service = service;
}

/// The number of a route that is known.
#[inline(never)]
fn known_route(template: &Template, service: u32, room: u32) -> u32 {
    let Some(last) = route_room(room) else { return UNMATCHED };
    let epoch = epoch::<Routes>();
    if last.has(epoch) && is_last_route(last, template, service) {
        return last.number;
    }
    put_route(last, template, service);
    // SAFETY: the map's own key.
    let number = unsafe { known((&raw const ROUTES).cast_mut().cast(), &last.key) };
    last.number = number.unwrap_or(0);
    last.epoch = epoch;
    number.unwrap_or(UNMATCHED)
}

/// How many routes a process and server has.
#[inline(always)]
fn routes_of(service: u32) -> Option<*mut u64> {
    let none = 0_u64;
    // SAFETY: the map has such keys and values.
    unsafe { entry((&raw const ROUTES_OF).cast_mut().cast(), &service, || Some(&raw const none)) }
}

/// The number of a route, a new one if it has none.
#[inline(never)]
fn added_route(template: &Template, service: u32, room: u32) -> u32 {
    let Some(last) = route_room(room) else { return CROWDED };
    put_route(last, template, service);
    last.number = 0;
    let key = &last.key;
    let map = (&raw const ROUTES).cast_mut().cast();
    // SAFETY: the map's own key.
    if let Some(number) = unsafe { known(map, key) } {
        return number;
    }
    let Some(count) = routes_of(service) else { return CROWDED };
    // SAFETY: a map's value.
    let is_full = unsafe { assembly::fetch_add(count, 1) } >= u64::from(HTTP_MAX_ROUTES.load());
    // SAFETY: the map's own key.
    if !is_full && let Some(given) = unsafe { give_free(map, key, &FREE_ROUTES) } {
        return given;
    }
    // SAFETY: a map's value; adding the largest number takes one away.
    unsafe { assembly::add(count, u64::MAX) };
    // Another processor may have come first.
    // SAFETY: the map's own key.
    unsafe { known(map, key) }.unwrap_or(CROWDED)
}

/// The number of an authority, a new one if it has none.
#[inline(never)]
fn authority_number(text: &Text, length: u32, room: u32) -> u32 {
    let Some(last) = AUTHORITY_KEYS.get_ptr_mut(room) else { return CROWDED };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let last = unsafe { &mut *last };
    let epoch = epoch::<Authorities>();
    let words = last.key.bytes.as_mut_ptr().cast::<u64>();
    let mut difference = last.key.length ^ u64::from(length);
    let mut at = 0;
    while at < NAME_MAX / 8 {
        let word = text.word_at(at);
        // SAFETY: within the name's bytes, which come first and are aligned as its length is.
        unsafe {
            difference |= words.add(at).read_volatile() ^ word;
            words.add(at).write_volatile(word);
        }
        at += 1;
    }
    last.key.length = u64::from(length);
    if difference == 0 && last.has(epoch) {
        return last.number;
    }
    let number = numbered((&raw const AUTHORITIES).cast_mut().cast(), &last.key, &FREE_AUTHORITIES);
    // One without a place may get one.
    last.number = if number == CROWDED { 0 } else { number };
    last.epoch = epoch;
    number
}

/// Where a segment leads from a node of the templates' tree.
#[inline(never)]
fn child(node: u32, text: &Text, length: u32, room: u32) -> u32 {
    let Some(key) = TREE_KEYS.get_ptr_mut(room) else { return 0 };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let key = unsafe { &mut *key };
    let map = (&raw const TEMPLATE_TREE).cast_mut().cast();
    let words = key.bytes.as_mut_ptr().cast::<u32>();
    key.node = node;
    key.length = length;
    let mut at = 0;
    while at < 4 {
        let word = if length > 32 { 0 } else { text.word_at(at) };
        // SAFETY: within the segment, which is aligned to four bytes; a word at a time, as with routes.
        unsafe {
            words.add(2 * at).write_volatile(word as u32);
            words.add(2 * at + 1).write_volatile((word >> 32) as u32);
        }
        at += 1;
    }
    // SAFETY: the map's own key.
    if let Some(node) = unsafe { known(map, key) } {
        return node;
    }
    if length == 0 {
        // Nothing is not any segment.
        return 0;
    }
    key.length = ANY;
    let mut at = 0;
    while at < 8 {
        // SAFETY: as above.
        unsafe { words.add(at).write_volatile(0) };
        at += 1;
    }
    // SAFETY: the map's own key.
    unsafe { known(map, key) }.unwrap_or(0)
}

/// Sets a template to the given one that ends at a node.
#[inline(never)]
fn set_given(node: u32, template: &mut Template) -> bool {
    let map = (&raw const TEMPLATES).cast_mut().cast();
    // SAFETY: the map's own key; what it returns is null or a value.
    let Some(given) = (unsafe { lookup::<_, GivenTemplate>(map, &node).as_ref() }) else { return false };
    let words = given.bytes.as_ptr().cast::<u64>();
    let mut at = 0;
    while at < ROUTE_MAX / 8 {
        // SAFETY: within the template, which comes first and is aligned as its length is.
        template.set_word(at, unsafe { words.add(at).read_volatile() });
        at += 1;
    }
    template.set_length(given.length as u32);
    true
}

/// Whether there are templates of routes that are given.
#[inline(always)]
fn has_templates() -> bool {
    HTTP_TEMPLATES.load() != 0
}

/// What is counted under a key, on this processor if there is room for that.
#[inline(always)]
fn counts_of(key: &RequestKey) -> Option<*mut u64> {
    let zeroes = || NO_REQUESTS.get_ptr(0);
    // SAFETY: both maps have such keys and values, and all that is in them may be written.
    unsafe {
        entry((&raw const REQUEST_COUNTS).cast_mut().cast(), key, zeroes)
            .or_else(|| entry((&raw const SPARE_COUNTS).cast_mut().cast(), key, zeroes))
            .map(<*mut RequestCounts>::cast)
    }
}

/// Adds to one of the counts.
///
/// # Safety
///
/// They must be a value of `REQUEST_COUNTS` or of `SPARE_COUNTS`.
#[inline(always)]
unsafe fn add(counts: *mut u64, place: usize, amount: u64) {
    let place = assembly::hide(place as u64) as usize & (WORDS - 1);
    // Another program may add to the same value.
    // SAFETY: within the value.
    unsafe { assembly::add(counts.add(place), amount) }
}

impl Labels for Buffers {
    #[inline(always)]
    fn route(&mut self, template: &Template, connection: &mut Connection) -> u32 {
        known_route(template, service_of(connection, self), self.room())
    }

    #[inline(always)]
    fn new_route(&mut self, template: &Template, connection: &mut Connection) -> u32 {
        added_route(template, service_of(connection, self), self.room())
    }

    #[inline(always)]
    fn authority(&mut self, text: &Text, length: u32) -> u32 {
        authority_number(text, length, self.room())
    }

    #[inline(always)]
    fn count_request(&mut self, connection: &mut Connection, key: RequestKey, done: &Done) -> bool {
        let key = RequestKey { service: service_of(connection, self), ..key };
        let Some(counts) = counts_of(&key).filter(|_| key.service != 0) else { return false };
        // SAFETY: a value of the map.
        done.each(|place, amount| unsafe { add(counts, place, amount) });
        true
    }

    #[inline(always)]
    fn count_events(&mut self, connection: &mut Connection, key: RequestKey, events: u64) -> bool {
        let key = RequestKey { service: service_of(connection, self), ..key };
        let Some(counts) = counts_of(&key).filter(|_| key.service != 0) else { return false };
        // SAFETY: a value of the map.
        unsafe { add(counts, EVENTS, events) };
        true
    }

    #[inline(always)]
    fn descend(&mut self, node: u32, text: &Text, length: u32) -> u32 {
        if has_templates() { child(node, text, length, self.room()) } else { 0 }
    }

    #[inline(always)]
    fn given(&mut self, node: u32, template: &mut Template) -> bool {
        has_templates() && set_given(node, template)
    }

    #[inline(always)]
    fn stream_after_ns(&self) -> u64 {
        HTTP_STREAM_AFTER_NS.load()
    }
}
