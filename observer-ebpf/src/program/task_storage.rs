//! A map with a value for each thread, which goes with the thread.

use core::ffi::c_void;
use core::marker::PhantomData;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated::bpf_task_storage_get;

use crate::kernel::Task;

/// A map of type `BPF_MAP_TYPE_TASK_STORAGE`, as the loader reads it from the type of its fields.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
    of: PhantomData<T>,
}

// SAFETY: its fields are never read; the kernel has the map.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    /// As a map is declared.
    pub const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
            of: PhantomData,
        }
    }

    /// The value of a thread, if it has one.
    #[inline(always)]
    pub fn get(&'static self, task: Task) -> Option<&'static mut T> {
        self.find(task, 0)
    }

    /// The value of a thread, of zeroes at first. None where there is no memory for one.
    #[inline(always)]
    pub fn get_or_create(&'static self, task: Task) -> Option<&'static mut T> {
        self.find(task, u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn find(&'static self, task: Task, flags: u64) -> Option<&'static mut T> {
        let map = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: a map and a task that the verifier knows; values are of integers, for which zeroes are good.
        unsafe {
            bpf_task_storage_get(map, task.as_ptr().cast_mut().cast(), core::ptr::null_mut(), flags)
                .cast::<T>()
                .as_mut()
        }
    }
}
