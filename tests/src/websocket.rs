//! WebSocket (RFC 6455) traffic that is known to the byte, and what the agent must say of it.

pub mod bench;
pub mod calls;
pub mod moving;
pub mod peers;
pub mod sides;
pub mod traffic;
pub mod wire;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps tests of one binary from running at once: they share a process, by which their traffic is told.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process name that nothing else has, at most 15 characters long.
///
/// # Panics
///
/// If it is longer: the kernel would cut it.
pub fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{prefix}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    assert!(name.len() < 16, "the kernel would cut {name}, and others like it");
    name
}

/// What the agent calls this process.
pub fn own_name() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string("/proc/self/comm")?.trim_end().to_owned())
}
