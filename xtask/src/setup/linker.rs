//! bpf-linker, which links what rustc makes for BPF.

use std::process::Command;

use super::report::Report;
use crate::cargo;
use crate::command::{find, output, run};

const ITEM: &str = "bpf-linker";
/// Any patch of this will do; `llvm::MAJOR` is what it is made for.
const SERIES: &str = "0.10.";
const INSTALL: [&str; 6] = ["install", "--locked", "--force", "bpf-linker", "--version", "0.10.3"];

pub(super) fn ensure(report: &mut Report) {
    if let Some(version) = version() {
        report.found(ITEM, version);
        return;
    }
    let command = format!("cargo {}", INSTALL.join(" "));
    if report.install(ITEM, &command, || run(cargo::same().args(INSTALL))) {
        match version() {
            Some(version) => report.found(ITEM, version),
            None => report.lacks(ITEM, &command),
        }
    }
}

fn version() -> Option<String> {
    let printed = output(Command::new(find(ITEM)?).arg("--version"))?;
    let version = usable(&printed)?;
    Some(format!("{version}, {}", find(ITEM)?.display()))
}

/// The version in `bpf-linker --version`'s line, when it is one that will do.
fn usable(printed: &str) -> Option<&str> {
    let version = printed.trim().strip_prefix("bpf-linker ")?;
    version.starts_with(SERIES).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::usable;

    #[test]
    fn the_series_counts() {
        assert_eq!(usable("bpf-linker 0.10.3\n"), Some("0.10.3"));
        assert_eq!(usable("bpf-linker 0.9.15\n"), None);
        assert_eq!(usable("bpf-linker 0.100.0\n"), None);
        assert_eq!(usable("ld 2.40\n"), None);
    }
}
