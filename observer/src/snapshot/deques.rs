//! The `DEQUES` map: what is in each queue, while the program goes on putting in and taking out.

use std::cell::OnceCell;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::Duration;

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use observer_ebpf::queues::deque::Deque;
use observer_ebpf::queues::layout::{PLACES, place_of};

use super::{AsRawFdOf as _, page_up};

/// How often one is copied that is written meanwhile.
const TRIES: u32 = 8;
/// The same after a pause each, as where the program that writes it is interrupted.
const PATIENT_TRIES: u32 = 32;
const PAUSE: Duration = Duration::from_micros(200);

/// The `DEQUES` map, in this process's memory.
#[derive(Debug)]
pub struct Deques {
    /// Mapped with the first queue: all of it counts as this process's memory, some 1.1 MB.
    memory: OnceCell<MmapRaw>,
    map: MapData,
}

impl Deques {
    /// That of the map.
    pub const fn new(map: MapData) -> Self {
        Self { memory: OnceCell::new(), map }
    }

    /// Where it is mapped.
    fn memory(&self) -> io::Result<&MmapRaw> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory);
        }
        let length = page_up(PLACES as usize * size_of::<Deque>());
        let memory = MmapOptions::new().len(length).map_raw_read_only(self.map.fd().as_raw_fd_of())?;
        Ok(self.memory.get_or_init(|| memory))
    }

    /// What is in the queue of a number. None if its place is not its own yet, or if every copy was written meanwhile.
    ///
    /// # Errors
    ///
    /// If they cannot be mapped into this process's memory.
    pub fn read(&self, number: u32) -> io::Result<Option<Deque>> {
        let first: *const Deque = self.memory()?.as_ptr().cast();
        // SAFETY: mapped as long as `self` lives, and there are as many as there are places.
        let deque = unsafe { copy(first.add(place_of(number) as usize)) };
        Ok(deque.filter(|deque| deque.number == number))
    }
}

/// A copy that nobody has written to while it was made, if there is one.
///
/// # Safety
///
/// It must be readable; others may write it.
unsafe fn copy(at: *const Deque) -> Option<Deque> {
    // SAFETY: of the caller's promise; whole words, which the program writes at once.
    let word = |field: *const u64| unsafe { AtomicU64::from_ptr(field.cast_mut()) };
    // SAFETY: as above; the fields are not looked at.
    let (busy, head, tail) =
        unsafe { (word(&raw const (*at).busy), word(&raw const (*at).head), word(&raw const (*at).tail)) };
    for attempt in 0..TRIES + PATIENT_TRIES {
        if busy.load(Ordering::Acquire) == 0 {
            let mut deque = Deque::NONE;
            let to = ptr::from_mut(&mut deque).cast::<u64>();
            for place in 0..size_of::<Deque>() / 8 {
                // SAFETY: within both. They are of integers only: whatever the program is writing, the copy is valid.
                unsafe { to.add(place).write(ptr::read_volatile(at.cast::<u64>().add(place))) };
            }
            fence(Ordering::Acquire);
            let ends = [head.load(Ordering::Relaxed), tail.load(Ordering::Relaxed)];
            if busy.load(Ordering::Relaxed) == 0 && ends == [deque.head, deque.tail] {
                return Some(deque);
            }
        }
        if attempt < TRIES {
            std::hint::spin_loop();
        } else {
            thread::sleep(PAUSE);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use observer_ebpf::queues::deque::Deque;

    #[test]
    fn a_copy_is_whole_or_none() {
        let mut deque = Deque::NONE;
        deque.start(200, 7, 1, 1000);
        deque.tail += 3;
        // SAFETY: it is there.
        let copied = unsafe { super::copy(&raw const deque) }.expect("nobody writes it");
        assert_eq!((copied.number, copied.service, copied.length()), (200, 7, 3));
        deque.busy = 1;
        // SAFETY: it is there.
        assert!(unsafe { super::copy(&raw const deque) }.is_none());
    }
}
