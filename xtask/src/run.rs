//! `cargo xtask run`: the agent as built here, as root.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{self, Needs};
use crate::{build, privilege, workspace};

/// The command; comes back only when the agent cannot be started, whose process this one becomes.
pub(crate) fn command(args: Vec<String>) -> Result<()> {
    setup::ensure(Needs::Build)?;
    build::everything()?;
    let agent = workspace::agent();
    let mut words = privilege::prefix()?;
    words.push(agent.display().to_string());
    words.extend(agent_arguments(args));
    let (program, rest) = words.split_first().context("nothing to run")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

/// `observer run` is meant unless another command is named.
fn agent_arguments(args: Vec<String>) -> Vec<String> {
    if args.first().is_some_and(|first| !first.starts_with('-')) {
        return args;
    }
    std::iter::once("run".to_owned()).chain(args).collect()
}

#[cfg(test)]
mod tests {
    use super::agent_arguments;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn run_is_what_is_meant() {
        assert_eq!(agent_arguments(Vec::new()), words("run"));
        assert_eq!(agent_arguments(words("--listen [::]:1")), words("run --listen [::]:1"));
        assert_eq!(agent_arguments(words("run --log-level debug")), words("run --log-level debug"));
        assert_eq!(agent_arguments(words("check --json")), words("check --json"));
    }
}
