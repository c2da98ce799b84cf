//! The program's maps as plain data: read straight from memory, while the program goes on writing.

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::settings::Control;
use observer_ebpf::layout::{Protocol, postgres, redis, websocket};

/// Elements that are mapped together. Only as much is mapped as was ever used, so a host with few
/// connections pays for few.
const CHUNK: u32 = 512;

/// Bytes of an element in the map: the kernel rounds its size up to 8.
const ELEMENT: usize = size_of::<Connection>();
const _: () = assert!(ELEMENT.is_multiple_of(8));

/// Words of an element before what its protocol counts.
const DETAILS: usize = offset_of!(Connection, details) / 8;
const _: () = assert!(offset_of!(Connection, details).is_multiple_of(8));

/// The `CONNECTIONS` and `CONTROL` maps, in this process's memory.
#[derive(Debug)]
pub struct Arena {
    connections: MapData,
    control: MmapRaw,
    _control: MapData,
    capacity: u32,
    chunks: Vec<MmapRaw>,
}

impl Arena {
    /// Maps both; `capacity` is how many elements `CONNECTIONS` has.
    pub fn new(connections: MapData, control: MapData, capacity: u32) -> io::Result<Self> {
        let mapped =
            MmapOptions::new().len(page_up(size_of::<Control>())).map_raw(control.fd().as_raw_fd_of())?;
        Ok(Self { connections, control: mapped, _control: control, capacity, chunks: Vec::new() })
    }

    fn control(&self) -> *const Control {
        self.control.as_ptr().cast()
    }

    /// Elements used so far: only those below are worth a look.
    pub fn used(&self) -> u32 {
        // SAFETY: mapped, aligned, and alive as long as `self`; written by the program atomically.
        let used = unsafe { AtomicU64::from_ptr((&raw const (*self.control()).used).cast_mut()) };
        used.load(Ordering::Acquire).min(u64::from(self.capacity)) as u32
    }

    /// Connections tracked now.
    pub fn tracked(&self) -> u64 {
        self.tracked_counter().load(Ordering::Relaxed)
    }

    /// Takes note that a connection is gone that the program could not see go.
    pub fn untrack(&self) {
        self.tracked_counter().fetch_sub(1, Ordering::Relaxed);
    }

    fn tracked_counter(&self) -> &AtomicU64 {
        // SAFETY: as in `used`.
        unsafe { AtomicU64::from_ptr((&raw const (*self.control()).tracked).cast_mut()) }
    }

    /// Starts the next pass of the refresh program, and returns its number.
    pub fn next_pass(&self) -> u32 {
        // SAFETY: as in `used`; only the agent writes it.
        let pass = unsafe { AtomicU32::from_ptr((&raw const (*self.control()).pass).cast_mut()) };
        pass.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Tells the program what time it is: `CLOCK_REALTIME` less `CLOCK_MONOTONIC`.
    pub fn set_wall_offset(&self, offset_ns: i64) {
        // SAFETY: as in `used`; only the agent writes it.
        let offset = unsafe { AtomicI64::from_ptr((&raw const (*self.control()).wall_offset_ns).cast_mut()) };
        offset.store(offset_ns, Ordering::Relaxed);
    }

    /// Makes the elements below `used` readable.
    pub fn extend(&mut self, used: u32) -> io::Result<()> {
        while (self.chunks.len() as u32) * CHUNK < used {
            let first = self.chunks.len() * CHUNK as usize;
            let elements = (CHUNK as usize).min(self.capacity as usize - first);
            // A chunk's bytes are a multiple of the page size, so that each starts on a page.
            let mapped = MmapOptions::new()
                .offset((first * ELEMENT) as u64)
                .len(elements * ELEMENT)
                .map_raw_read_only(self.connections.fd().as_raw_fd_of())?;
            self.chunks.push(mapped);
        }
        Ok(())
    }

    /// An element that [`Arena::extend`] has made readable, as far as it is read. Its fields may change at
    /// any time.
    pub fn element(&self, index: u32) -> Option<Element<'_>> {
        let chunk = self.chunks.get((index / CHUNK) as usize)?;
        let at = (index % CHUNK) as usize * ELEMENT;
        if at + ELEMENT > chunk.len() {
            return None;
        }
        // SAFETY: within the mapping, as just checked.
        Some(Element { at: unsafe { chunk.as_ptr().add(at) }.cast(), _arena: self })
    }
}

const _: () = assert!((CHUNK as usize * ELEMENT).is_multiple_of(4096));

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

/// One connection, where the program writes it.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    at: *const Connection,
    _arena: &'a Arena,
}

impl Element<'_> {
    /// The phase, read before anything else: what was written before it is there.
    pub fn phase(self) -> Phase {
        // SAFETY: mapped as long as the arena lives; a byte is always whole.
        let phase =
            unsafe { std::sync::atomic::AtomicU8::from_ptr((&raw const (*self.at).phase).cast_mut()) };
        Phase::from_u8(phase.load(Ordering::Acquire))
    }

    /// A copy of everything that the connection's protocol has. Counters are copied one by one: each is whole,
    /// and one may be newer than another.
    pub fn read(self) -> Connection {
        // SAFETY: integers only, of which all may be zero.
        let mut connection: Connection = unsafe { MaybeUninit::zeroed().assume_init() };
        self.copy(&mut connection, 0..DETAILS);
        // What the protocol does not count in is not looked at: of most connections that is all there is.
        let words = match Protocol::from_u8(connection.protocol) {
            Protocol::Unknown | Protocol::Http | Protocol::Tls => 0,
            Protocol::WebSocket => size_of::<[websocket::Counters; 2]>() / 8,
            Protocol::Postgres => size_of::<postgres::Counters>() / 8,
            Protocol::Redis => size_of::<redis::Counters>() / 8,
        };
        self.copy(&mut connection, DETAILS..DETAILS + words);
        connection
    }

    /// Copies words, each at once.
    fn copy(self, connection: &mut Connection, words: Range<usize>) {
        let to = ptr::from_mut(connection).cast::<u64>();
        for word in words.start..words.end.min(ELEMENT / 8) {
            // SAFETY: within both; the element is mapped as long as the arena lives. They are of integers only:
            // whatever the program is writing, the copy is valid. Words of this size are copied whole on every
            // processor that BPF runs on.
            unsafe { to.add(word).write(ptr::read_volatile(self.at.cast::<u64>().add(word))) };
        }
    }
}
