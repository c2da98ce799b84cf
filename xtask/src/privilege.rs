//! Becoming root where something needs it: loading BPF programs, installing packages.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{command, tools};

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A command that runs as root without asking anything; none where that cannot be.
pub(crate) fn silent(program: impl AsRef<OsStr>) -> Option<Command> {
    if is_root() {
        return Some(Command::new(program));
    }
    if !command::succeeds(Command::new("sudo").args(["-n", "true"])) {
        return None;
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg(program);
    Some(command)
}

/// The words before a program that make it run as root, with this environment; none for root itself.
///
/// sudo may ask for a password here: that is what the user of `run` and `test` expects.
pub(crate) fn prefix() -> Result<Vec<String>> {
    if is_root() {
        return Ok(Vec::new());
    }
    let sudo = command::find("sudo").is_some();
    if !sudo || !(io::stdin().is_terminal() || command::succeeds(Command::new("sudo").args(["-n", "true"]))) {
        bail!(
            "this needs root, to load BPF programs, and sudo {}; run the same command as root",
            if sudo { "wants a password but there is no terminal to ask on" } else { "is not installed" },
        );
    }
    // sudo puts its own PATH in place of the user's, where node or python may be found.
    let path = std::env::var("PATH").unwrap_or_default();
    Ok(["sudo", "-E", "env", &format!("PATH={path}")].map(str::to_owned).into())
}

/// The option that makes cargo build as this user and run what it built as root, with the tools that had to be
/// unpacked.
pub(crate) fn cargo_runner() -> Result<Vec<String>> {
    let words = [prefix()?, tools::prefix_of_root()].concat();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec!["--config".to_owned(), runner_setting(&words)])
}

fn runner_setting(words: &[String]) -> String {
    // A Rust string's escapes are those of TOML for all that a PATH may sensibly hold.
    format!("target.'cfg(all())'.runner={words:?}")
}

#[cfg(test)]
mod tests {
    use super::runner_setting;

    #[test]
    fn a_runner_is_a_toml_array() {
        let words = ["sudo", "-E"].map(str::to_owned);
        assert_eq!(runner_setting(&words), r#"target.'cfg(all())'.runner=["sudo", "-E"]"#);
    }
}
