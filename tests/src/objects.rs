//! BPF programs and maps, as the kernel numbers them.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;

/// The numbers of the BPF programs and maps that a process holds.
#[derive(Debug, Default)]
pub struct Objects {
    /// Of programs.
    pub programs: BTreeSet<u32>,
    /// Of maps.
    pub maps: BTreeSet<u32>,
}

impl Objects {
    /// Those of a process, by its descriptors.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let mut held = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let text = match fs::read_to_string(entry?.path()) {
                // A client's connection, closed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text?,
            };
            for line in text.lines() {
                let number = || line.split_whitespace().last().and_then(|number| number.parse::<u32>().ok());
                if line.starts_with("prog_id:") {
                    held.programs.extend(number());
                } else if line.starts_with("map_id:") {
                    held.maps.extend(number());
                }
            }
        }
        Ok(held)
    }

    /// Fails if any of them is still there after a while: the kernel frees them once nobody can be in them.
    pub fn expect_gone(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let loaded: Vec<u32> =
                aya::programs::loaded_programs().filter_map(|one| one.ok().map(|one| one.id())).collect();
            let there: Vec<u32> =
                aya::maps::loaded_maps().filter_map(|one| one.ok().map(|one| one.id())).collect();
            let programs_left: Vec<&u32> = loaded.iter().filter(|id| self.programs.contains(id)).collect();
            let maps_left: Vec<&u32> = there.iter().filter(|id| self.maps.contains(id)).collect();
            if programs_left.is_empty() && maps_left.is_empty() {
                return Ok(());
            }
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "left: programs {programs_left:?}, maps {maps_left:?}"
            );
            sleep(Duration::from_millis(50));
        }
    }
}
