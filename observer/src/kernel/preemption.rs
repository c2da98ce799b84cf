//! Whether this kernel may take the processor from a program on a tracepoint in the middle of its run.

use std::fs;

/// The first release that may: until then `__bpf_trace_run` (`kernel/trace/bpf_trace.c`) is called with preemption
/// disabled, as the tracepoint has it (`include/linux/tracepoint.h`).
const SINCE: (u32, u32) = (7, 0);

/// Whether it may. It needs a kernel that preempts itself, too; on one that does not, spare programs have nothing to do.
pub fn of_programs() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    version(&release).is_some_and(|version| version >= SINCE)
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_are_read_whatever_follows_their_numbers() {
        assert_eq!(version("7.3.4+deb13-cloud-amd64\n"), Some((7, 3)));
        assert_eq!(version("6.19-rc1"), Some((6, 19)));
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("next"), None);
        assert_eq!(version(""), None);
    }
}
