//! Many entries of a BPF hash map in one call (`generic_map_delete_batch` and `htab_map_lookup_batch`,
//! `kernel/bpf/`), since Linux 5.6. `aya` reads and removes them one by one, at two calls for each.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Pod;
use aya::maps::MapData;

use super::bpf;

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// Entries asked for in one call at first. The kernel hands out whole buckets of its table, and says
/// `ENOSPC` where one has more.
const ENTRIES: usize = 2048;

/// `struct { … } batch` of `union bpf_attr` (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    entry_flags: u64,
    flags: u64,
}

/// All entries of a hash map, at most `limit` and a batch. Those that come or go meanwhile may be among
/// them or not; the others are, once each.
pub fn read<K: Pod, V: Pod>(map: &MapData, limit: usize) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    read_values(map, limit, 1, |&key, values: &[V]| {
        entries.extend(values.iter().map(|&value| (key, value)));
    })?;
    Ok(entries)
}

/// The same, told one by one, where values are too large to keep them all.
pub fn tell<K: Pod, V: Pod>(map: &MapData, limit: usize, mut tell: impl FnMut(&K, &V)) -> io::Result<()> {
    read_values(map, limit, 1, |key, values: &[V]| values.iter().for_each(|value| tell(key, value)))
}

/// The same of a hash map that has a value for each processor, which are told together. They are of whole words.
pub fn read_each<K: Pod, V: Pod>(map: &MapData, limit: usize, tell: impl FnMut(&K, &[V])) -> io::Result<()> {
    const { assert!(size_of::<V>().is_multiple_of(8)) };
    let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    read_values(map, limit, processors, tell)
}

fn read_values<K: Pod, V: Pod>(
    map: &MapData,
    limit: usize,
    of_entry: usize,
    mut tell: impl FnMut(&K, &[V]),
) -> io::Result<()> {
    let mut room = ENTRIES;
    let mut told = 0;
    // The bucket to go on from.
    let mut bucket = 0u32;
    let mut first = true;
    while told < limit {
        let mut keys = Vec::<K>::with_capacity(room);
        let mut values = Vec::<V>::with_capacity(room * of_entry);
        let mut next = 0u32;
        let mut batch = Batch {
            from: if first { 0 } else { &raw const bucket as u64 },
            to: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map: descriptor(map),
            ..Batch::default()
        };
        // SAFETY: there is room for as many keys and values as the count says.
        let outcome = unsafe { bpf::call(BPF_MAP_LOOKUP_BATCH, &mut batch) };
        let is_last = match outcome {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < limit.max(ENTRIES) => {
                room *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = (batch.count as usize).min(room);
        // SAFETY: there is room for as many, and the kernel has written that many of each, which may hold
        // any bytes.
        unsafe {
            keys.set_len(count);
            values.set_len(count * of_entry);
        }
        keys.iter().zip(values.chunks_exact(of_entry)).for_each(|(key, values)| tell(key, values));
        told += count;
        if is_last {
            break;
        }
        bucket = next;
        first = false;
    }
    Ok(())
}

/// Removes entries, in their order. Returns how many of them are not there any more, which is fewer than all
/// after an error.
pub fn remove<K: Pod>(map: &MapData, keys: &[K]) -> (usize, io::Result<()>) {
    let mut removed = 0;
    while let Some(left) = keys.get(removed..).filter(|left| !left.is_empty()) {
        let mut batch = Batch {
            keys: left.as_ptr() as u64,
            count: left.len().min(u32::MAX as usize) as u32,
            map: descriptor(map),
            ..Batch::default()
        };
        let asked = batch.count as usize;
        // SAFETY: there are as many keys as the count says.
        match unsafe { bpf::call(BPF_MAP_DELETE_BATCH, &mut batch) } {
            Ok(_) => removed += asked,
            // As many were removed, and the next one is not there.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                removed += (batch.count as usize).min(asked) + 1;
            }
            Err(error) => return (removed, Err(error)),
        }
    }
    (removed.min(keys.len()), Ok(()))
}

fn descriptor(map: &MapData) -> u32 {
    map.fd().as_fd().as_raw_fd().cast_unsigned()
}
