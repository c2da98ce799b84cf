//! The program's maps as plain data: read straight from memory, while the program goes on writing.

mod deques;

pub use deques::Deques;

use std::cell::RefCell;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::{Connection, Details, Phase};
use observer_ebpf::layout::control;
use observer_ebpf::layout::names::Namespace;

/// Slots that are mapped together. Only as much is mapped as was ever used, so a host with few
/// connections pays for few.
const CHUNK: u32 = 512;

/// Chunks that stay mapped, for some 12,000 connections. What is mapped counts as this process's memory; mapping
/// one anew takes some 20 µs.
const KEPT: usize = 24;

/// Bytes of a slot in the map: the kernel rounds its size up to 8.
const SLOT: usize = size_of::<Connection>();
const _: () = assert!(SLOT.is_multiple_of(8));

/// Words of a slot before what its protocol counts.
const DETAILS: usize = offset_of!(Connection, details) / 8;
const _: () = assert!(offset_of!(Connection, details).is_multiple_of(8));

/// The `CONTROL` map, in this process's memory.
#[derive(Debug)]
pub struct Control {
    memory: MmapRaw,
    _map: MapData,
}

impl Control {
    /// Maps it.
    pub fn new(map: MapData) -> io::Result<Self> {
        let length = page_up(size_of::<control::Control>());
        let memory = MmapOptions::new().len(length).map_raw(map.fd().as_raw_fd_of())?;
        Ok(Self { memory, _map: map })
    }

    fn entry(&self) -> *mut control::Control {
        self.memory.as_mut_ptr().cast()
    }

    fn used(&self) -> &AtomicU64 {
        // SAFETY: mapped, aligned, and alive as long as `self`; written by the program atomically.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.entry()).used) }
    }

    fn tracked(&self) -> &AtomicU64 {
        // SAFETY: as in `used`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.entry()).tracked) }
    }

    fn pass(&self) -> &AtomicU32 {
        // SAFETY: as in `used`; only the agent writes it.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.entry()).pass) }
    }

    fn wall_offset_ns(&self) -> &AtomicI64 {
        // SAFETY: as in `pass`.
        unsafe { AtomicI64::from_ptr(&raw mut (*self.entry()).wall_offset_ns) }
    }

    fn epoch(&self, place: usize) -> &AtomicU32 {
        // SAFETY: as in `pass`; a place that is not there panics.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.entry()).epochs[place]).cast()) }
    }
}

/// How often places of a namespace have been given to other names.
#[derive(Debug)]
pub struct Epochs {
    control: Rc<Control>,
    place: usize,
}

impl Epochs {
    /// Those of a namespace.
    pub const fn of<N: Namespace>(control: Rc<Control>) -> Self {
        Self { control, place: N::PLACE }
    }

    /// Tells the program that places are other names' from now on.
    pub fn advance(&self) {
        self.control.epoch(self.place).fetch_add(1, Ordering::Release);
    }
}

/// The `CONNECTIONS` map, in this process's memory.
#[derive(Debug)]
pub struct Arena {
    connections: MapData,
    control: Rc<Control>,
    capacity: u32,
    /// The first [`KEPT`], each from its first use on, and behind them one of the rest.
    chunks: RefCell<Vec<Option<Chunk>>>,
}

/// Slots in memory.
#[derive(Debug)]
struct Chunk {
    number: usize,
    memory: MmapRaw,
}

impl Arena {
    /// Slots of the map, of which there are `capacity`.
    pub fn new(connections: MapData, control: Rc<Control>, capacity: u32) -> Self {
        Self { connections, control, capacity, chunks: RefCell::default() }
    }

    /// Slots used so far: only those below are worth a look.
    pub fn used(&self) -> u32 {
        self.control.used().load(Ordering::Acquire).min(u64::from(self.capacity)) as u32
    }

    /// Connections tracked now.
    pub fn tracked(&self) -> u64 {
        self.control.tracked().load(Ordering::Relaxed)
    }

    /// Takes note that a connection is gone that the program could not see go.
    pub fn untrack(&self) {
        self.control.tracked().fetch_sub(1, Ordering::Relaxed);
    }

    /// Starts the next pass of the refresh program, and returns its number.
    pub fn next_pass(&self) -> u32 {
        self.control.pass().fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Tells the program what time it is: `CLOCK_REALTIME` less `CLOCK_MONOTONIC`.
    pub fn set_wall_offset(&self, offset_ns: i64) {
        self.control.wall_offset_ns().store(offset_ns, Ordering::Relaxed);
    }

    /// What a slot holds now; `None` if there is none of this number. Best asked for in the order of their
    /// numbers: of those past the first chunks, only one chunk is mapped at a time.
    pub fn read(&self, index: u32) -> io::Result<Option<Connection>> {
        let number = (index / CHUNK) as usize;
        let at = (index % CHUNK) as usize * SLOT;
        let mut chunks = self.chunks.borrow_mut();
        let place = if number < KEPT { number } else { KEPT };
        let length = chunks.len().max(place + 1);
        chunks.resize_with(length, || None);
        let chunk = match &mut chunks[place] {
            Some(chunk) if chunk.number == number => chunk,
            other => {
                // One goes before the next one comes.
                *other = None;
                other.insert(Chunk { number, memory: self.map(number)? })
            }
        };
        if at + SLOT > chunk.memory.len() {
            return Ok(None);
        }
        // SAFETY: within the mapping, as just checked.
        let slot = Slot { at: unsafe { chunk.memory.as_ptr().add(at) }.cast(), _chunk: chunk };
        Ok(Some(slot.read()))
    }

    fn map(&self, number: usize) -> io::Result<MmapRaw> {
        let first = number * CHUNK as usize;
        let slots = (CHUNK as usize).min((self.capacity as usize).saturating_sub(first));
        // Each starts on a page of 4 KiB; where pages are larger, memmap2 maps from the start of the page it is in.
        MmapOptions::new()
            .offset((first * SLOT) as u64)
            .len(slots * SLOT)
            .map_raw_read_only(self.connections.fd().as_raw_fd_of())
    }
}

const _: () = assert!((CHUNK as usize * SLOT).is_multiple_of(4096));

fn page_up(bytes: usize) -> usize {
    bytes.next_multiple_of(4096)
}

/// A raw descriptor, which is what memory is mapped from.
trait AsRawFdOf {
    fn as_raw_fd_of(&self) -> std::os::fd::RawFd;
}

impl AsRawFdOf for aya::maps::MapFd {
    fn as_raw_fd_of(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsFd as _;
        self.as_fd().as_raw_fd()
    }
}

/// One connection, where the program writes it. Its fields may change at any time.
#[derive(Clone, Copy, Debug)]
struct Slot<'a> {
    at: *const Connection,
    _chunk: &'a Chunk,
}

impl Slot<'_> {
    /// The phase. To be read before anything else: what was written before it is there then.
    fn phase(self) -> Phase {
        // SAFETY: mapped as long as it is borrowed; a byte is always whole.
        let phase =
            unsafe { std::sync::atomic::AtomicU8::from_ptr((&raw const (*self.at).phase).cast_mut()) };
        Phase::from_u8(phase.load(Ordering::Acquire))
    }

    /// A copy of everything that the connection's protocol has. Counters are copied one by one: each is whole,
    /// and one may be newer than another.
    fn read(self) -> Connection {
        let phase = self.phase();
        // SAFETY: integers only, of which all may be zero.
        let mut connection: Connection = unsafe { MaybeUninit::zeroed().assume_init() };
        self.copy(&mut connection, 0..DETAILS);
        connection.phase = phase as u8;
        // What the protocol does not count in is not looked at: of most connections that is all there is.
        let words = Details::words_of(Protocol::from_u8(connection.protocol));
        self.copy(&mut connection, DETAILS..DETAILS + words);
        connection
    }

    /// Copies words, each at once.
    fn copy(self, connection: &mut Connection, words: Range<usize>) {
        let to = ptr::from_mut(connection).cast::<u64>();
        for word in words.start..words.end.min(SLOT / 8) {
            // SAFETY: within both; the slot is mapped as long as it is borrowed. They are of integers only:
            // whatever the program is writing, the copy is valid. Words of this size are copied whole on every
            // processor that BPF runs on.
            unsafe { to.add(word).write(ptr::read_volatile(self.at.cast::<u64>().add(word))) };
        }
    }
}
