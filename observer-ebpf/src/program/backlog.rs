//! Commands in flight for which connections have no room of their own: see [`observer_ebpf::stream::pipeline`].

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::{bpf_map_delete_elem, bpf_map_update_elem};
use aya_ebpf::macros::btf_map;
use observer_ebpf::stream::pipeline::{Backlog, Pipeline};

use crate::calls::buffers::Buffers;
use crate::names::lookup;

/// A connection's id, and the number of a run.
type Key = [u64; 2];

/// Runs by connection and number. Their pipelines forget them once they are answered; those of connections that are gone
/// make way for others.
#[btf_map]
static BACKLOG: LruHashMap<Key, [u64; 2], 32_768> = LruHashMap::new();

/// [`Pipeline::push_beyond`]: 1 if the commands can be matched.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pipeline_push_beyond(pipeline: *mut Pipeline, buffers: *mut Buffers, id: u64) -> u32 {
    // SAFETY: null, or within entries of maps that nothing else uses while the direction is locked.
    let (pipeline, buffers) = unsafe { (pipeline.as_mut(), buffers.as_mut()) };
    let (Some(pipeline), Some(buffers)) = (pipeline, buffers) else { return 0 };
    u32::from(pipeline.push_beyond(id, buffers))
}

/// [`Pipeline::fetch`]: 1 if there is a run.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pipeline_fetch(pipeline: *mut Pipeline, buffers: *mut Buffers, id: u64, who: u32) -> u32 {
    // SAFETY: as above.
    let (pipeline, buffers) = unsafe { (pipeline.as_mut(), buffers.as_mut()) };
    let (Some(pipeline), Some(buffers)) = (pipeline, buffers) else { return 0 };
    u32::from(pipeline.fetch(id, who, buffers))
}

impl Backlog for Buffers {
    #[inline(always)]
    fn push_beyond(&mut self, pipeline: &mut Pipeline, id: u64) -> bool {
        pipeline_push_beyond(pipeline, self, id) != 0
    }

    #[inline(always)]
    fn fetch(&mut self, pipeline: &mut Pipeline, id: u64, who: u32) -> bool {
        pipeline_fetch(pipeline, self, id, who) != 0
    }

    #[inline(always)]
    fn keep(&mut self, id: u64, number: u32, run: [u64; 2]) -> bool {
        let key: Key = [id, u64::from(number)];
        let map = (&raw const BACKLOG).cast_mut().cast();
        // SAFETY: key and value are as the map has them.
        unsafe {
            bpf_map_update_elem(
                map,
                (&raw const key).cast_mut().cast(),
                (&raw const run).cast_mut().cast(),
                0,
            ) == 0
        }
    }

    #[inline(always)]
    fn kept(&mut self, id: u64, number: u32) -> Option<[u64; 2]> {
        let key: Key = [id, u64::from(number)];
        let map = (&raw const BACKLOG).cast_mut().cast();
        // SAFETY: the key is as the map has it; what it returns is null or a value.
        unsafe { lookup::<_, [u64; 2]>(map, &key).as_ref().copied() }
    }

    #[inline(always)]
    fn forget(&mut self, id: u64, number: u32) {
        let key: Key = [id, u64::from(number)];
        let map = (&raw const BACKLOG).cast_mut().cast();
        // SAFETY: the key is as the map has it.
        unsafe { bpf_map_delete_elem(map, (&raw const key).cast_mut().cast()) };
    }
}
