//! The end-to-end tests as jobs: those of one binary that need the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::needs::{self, Needs, Part};
use super::{cargo_of_tests, environment};
use crate::command::output;
use crate::{privilege, tools, workspace};

/// Some tests of one binary.
#[derive(Debug)]
pub(super) struct Job {
    /// What it is called, after the file and the module.
    pub(super) name: String,
    /// What they need.
    pub(super) needs: Needs,
    /// How each of them is called.
    pub(super) tests: Vec<String>,
    /// The words that start the binary as root, with the tools that had to be unpacked.
    words: Vec<String>,
}

impl Job {
    /// The same, with some of its tests only.
    pub(super) fn of(self, tests: Vec<String>) -> Self {
        Self { tests, ..self }
    }

    /// A command that runs its tests, as many at a time as they say.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        let at_once = format!("--test-threads={}", self.needs.at_once);
        command.args(&self.words[1..]).args([&at_once, "--exact"]).args(&self.tests);
        // Where cargo runs them.
        command.current_dir(directory()).envs(environment());
        command
    }
}

/// A test binary.
pub(super) struct Binary {
    /// The file that it is made from.
    source: PathBuf,
    program: PathBuf,
}

/// Finds the tests whose name contains the filter.
pub(super) fn find(binaries: &[Binary], filter: Option<&str>) -> Result<Vec<Job>> {
    let prefix = [privilege::prefix()?, tools::prefix_of_root()].concat();
    let mut jobs = Vec::new();
    for Binary { source, program } in binaries {
        let text = fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
        let place = source.strip_prefix(directory()).unwrap_or(source).display().to_string();
        // What is in the library needs no agent.
        let parts = if place.starts_with("src/") {
            vec![Part { module: None, needs: Needs::default() }]
        } else {
            needs::parts(&text).with_context(|| place.clone())?
        };
        let tests = list(program)?;
        let tests = tests.iter().filter(|test| filter.is_none_or(|filter| test.contains(filter)));
        let tests: Vec<&str> = tests.map(String::as_str).collect();
        let words = [&prefix[..], &[program.display().to_string()]].concat();
        for (part, tests) in parts.iter().zip(split(&parts, &tests)) {
            let name = [Some(place.clone()), part.module.clone()].into_iter().flatten();
            jobs.push(Job {
                name: name.collect::<Vec<_>>().join(", "),
                needs: part.needs.clone(),
                tests,
                words: words.clone(),
            });
        }
    }
    jobs.retain(|job| !job.tests.is_empty());
    Ok(jobs)
}

/// The tests of each part: those in its module, and for the file itself the rest.
fn split(parts: &[Part], tests: &[&str]) -> Vec<Vec<String>> {
    let is_in = |test: &str, part: &Part| {
        part.module
            .as_ref()
            .is_some_and(|module| test.split_once("::").is_some_and(|(first, _)| first == module))
    };
    let of = |part: &Part| {
        let mine = tests.iter().filter(|test| match part.module {
            Some(_) => is_in(test, part),
            None => !parts.iter().any(|other| is_in(test, other)),
        });
        mine.map(|&test| test.to_owned()).collect()
    };
    parts.iter().map(of).collect()
}

/// Where the tests are.
fn directory() -> PathBuf {
    workspace::root().join("tests")
}

/// Builds the test binaries.
pub(super) fn build() -> Result<Vec<Binary>> {
    let mut cargo = cargo_of_tests("test");
    // What it compiles, and what is wrong with it, is for the user to see.
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit());
    let built = cargo.output().context("cannot start cargo")?;
    ensure!(built.status.success(), "the end-to-end tests do not build ({})", built.status);
    let printed = String::from_utf8(built.stdout).context("what cargo says of them is no text")?;
    let mut binaries = Vec::new();
    for line in printed.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("cargo says {line}"))?;
        let is_test = message["profile"]["test"] == true;
        if let (true, Some(binary)) = (is_test, message["executable"].as_str()) {
            let source =
                message["target"]["src_path"].as_str().with_context(|| format!("no file: {line}"))?;
            binaries.push(Binary { source: source.into(), program: binary.into() });
        }
    }
    ensure!(!binaries.is_empty(), "cargo tells of no test binary");
    Ok(binaries)
}

/// The names of the tests in a binary.
fn list(binary: &Path) -> Result<Vec<String>> {
    let Some(listed) = output(Command::new(binary).args(["--list", "--format=terse"])) else {
        bail!("{} does not tell its tests", binary.display());
    };
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_is_in_one_part() {
        let module = |name: &str| Part { module: Some(name.to_owned()), needs: Needs::host() };
        let parts = [Part { module: None, needs: Needs::default() }, module("alone")];
        let tests = ["one", "alone::two", "lonely::three", "alone_not"];
        assert_eq!(split(&parts, &tests), [vec!["one", "lonely::three", "alone_not"], vec!["alone::two"]]);
    }
}
