//! Debian packages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{find, output, run};
use crate::{privilege, workspace};

/// What a package's scripts start and enable services with.
const SERVICE_COMMANDS: [&str; 4] =
    ["deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d"];

/// Installs packages, none of whose services is started or enabled: tests start their own servers.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() {
        bail!("there is no apt-get");
    }
    if !known(packages) {
        run(apt_get()?.args(["update", "-q"]))?;
        if !known(packages) {
            bail!("this distribution does not have {}", packages.join(" and "));
        }
    }
    let path = format!("DPkg::Path={}:/usr/sbin:/usr/bin:/sbin:/bin", without_services()?.display());
    let install = || -> Result<()> {
        let mut command = apt_get()?;
        // Nothing is removed to make room: a conflict is for the user to settle.
        command.args(["install", "-y", "-q", "--no-install-recommends", "--no-remove"]);
        run(command.args(["-o", &path, "-o", "DPkg::Lock::Timeout=120"]).args(packages))
    };
    // A list of packages that is some weeks old names versions that are gone.
    install().or_else(|_| {
        run(apt_get()?.args(["update", "-q"]))?;
        install()
    })
}

/// Whether packages may be installed at all from here, as far as that can be told.
pub(super) fn may_install() -> bool {
    find("apt-get").is_some() && privilege::silent("true").is_some()
}

/// What to type for the same.
pub(super) fn advice(packages: &[&str]) -> String {
    let sudo = if privilege::is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get update && {sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}

fn apt_get() -> Result<Command> {
    let mut command = privilege::silent("env").context("needs root, or sudo without a password")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    Ok(command)
}

/// Whether apt knows where to get all of these.
fn known(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let policy = output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]));
        policy.is_some_and(|policy| has_candidate(&policy))
    })
}

fn has_candidate(policy: &str) -> bool {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"));
    candidate.is_some_and(|candidate| candidate.trim() != "(none)")
}

/// A directory with commands that do nothing under the names of those that start and enable services.
fn without_services() -> Result<PathBuf> {
    let directory = workspace::test_env().join("no-services");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for name in SERVICE_COMMANDS {
        let file = directory.join(name);
        fs::write(&file, "#!/bin/sh\nexit 0\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::has_candidate;

    #[test]
    fn a_candidate_is_a_version() {
        assert!(has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n"));
        assert!(!has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
