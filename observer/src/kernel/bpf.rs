//! Calls of `bpf(2)` that `aya` does not wrap.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Makes a call with these attributes, which are as much of `union bpf_attr` (`include/uapi/linux/bpf.h`) as the command
/// reads and writes.
///
/// # Safety
///
/// Addresses in the attributes must be of as much memory as the command takes for it.
pub(super) unsafe fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are as long as it is said; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same of a command that returns a new descriptor.
///
/// # Safety
///
/// As for [`call`]; and the command must be one that returns a descriptor.
pub(super) unsafe fn open<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the kernel has just made this descriptor for us alone.
    unsafe { call(command, attributes).map(|descriptor| OwnedFd::from_raw_fd(descriptor as libc::c_int)) }
}
