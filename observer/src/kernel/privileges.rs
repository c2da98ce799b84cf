//! Whether this process may load and attach programs (`capabilities(7)`).

use std::fs;

/// Capabilities that loading and running needs, by their bit (`include/uapi/linux/capability.h`).
const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_SYS_PTRACE", 19)];

/// `CAP_SYS_ADMIN`, which on its own allows what the first two do.
const SYS_ADMIN: u32 = 21;

/// Needed capabilities that this process lacks. Unknown (no `/proc`) counts as none lacking.
pub fn missing() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).map(lacking).unwrap_or_default()
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lacking(effective: u64) -> Vec<&'static str> {
    let has = |bit: u32| effective >> bit & 1 == 1;
    NEEDED
        .iter()
        .filter(|&&(name, bit)| !(has(bit) || (has(SYS_ADMIN) && name != "CAP_SYS_PTRACE")))
        .map(|&(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{effective, lacking};

    #[test]
    fn root_lacks_nothing_and_nobody_lacks_all() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n").map(lacking), Some(Vec::new()));
        assert_eq!(
            effective("CapEff:\t0000000000000000\n").map(lacking),
            Some(vec!["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"])
        );
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        assert_eq!(lacking(1 << super::SYS_ADMIN), vec!["CAP_SYS_PTRACE"]);
    }
}
