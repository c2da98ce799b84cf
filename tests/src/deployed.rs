//! What is deployed around the agent: files of `deploy/`, and the tools of those who read them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::rules::{self, Rule};

/// The repository's `deploy/`.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The files of a directory in it that end so.
pub fn files(directory: &str, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let directory = deploy().join(directory);
    let entries = directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.retain(|file| file.extension() == Some(OsStr::new(extension)));
    files.sort_unstable();
    ensure!(!files.is_empty(), "no .{extension} in {}", directory.display());
    Ok(files)
}

/// What a tool prints, if it is there and content.
pub fn said(tool: &str, arguments: &[&str], files: &[PathBuf]) -> anyhow::Result<String> {
    let output = Command::new(tool).args(arguments).args(files).output();
    let output = output.with_context(|| format!("cannot run {tool}; run: cargo xtask setup"))?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{tool} {}: {said}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// The rules of all files.
pub fn all_rules() -> anyhow::Result<Vec<Rule>> {
    let mut all = Vec::new();
    for file in files("prometheus/rules", "yml")? {
        let rules = rules::read(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
        ensure!(!rules.is_empty(), "no rules in {}", file.display());
        all.extend(rules);
    }
    Ok(all)
}
