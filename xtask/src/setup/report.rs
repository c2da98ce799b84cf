//! What `setup` says, and what it could not do.

use std::fmt::Display;

use anyhow::Result;

/// One line an item, and the commands that are left to the user.
pub(super) struct Report {
    check: bool,
    all: bool,
    missing: Vec<String>,
}

impl Report {
    /// With `check`, nothing may be installed; without `all`, what is there is not worth a line.
    pub(super) fn new(check: bool, all: bool) -> Self {
        Self { check, all, missing: Vec::new() }
    }

    /// It is there.
    pub(super) fn found(&self, item: &str, what: impl Display) {
        if self.all {
            println!("found       {item}: {what}");
        }
    }

    /// It is not there: installs it, unless nothing may be, and says whether it is there now. Where it is
    /// not, `command` is what the user is told to run.
    pub(super) fn install(
        &mut self,
        item: &str,
        command: &str,
        install: impl FnOnce() -> Result<()>,
    ) -> bool {
        if self.check {
            self.lacks(item, command);
            return false;
        }
        println!("installing  {item}");
        match install() {
            Ok(()) => true,
            Err(error) => {
                println!("failed      {item}: {error:#}");
                self.lacks(item, command);
                false
            }
        }
    }

    /// It is not there, and this command brings it.
    pub(super) fn lacks(&mut self, item: &str, command: &str) {
        println!("missing     {item}");
        if !self.missing.iter().any(|known| known == command) {
            self.missing.push(command.to_owned());
        }
    }

    /// The commands that are left to the user.
    pub(super) fn missing(&self) -> &[String] {
        &self.missing
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_check_installs_nothing() {
        let mut report = Report::new(true, true);
        assert!(!report.install("thing", "get thing", || bail!("must not be called")));
        assert_eq!(report.missing(), ["get thing"]);
    }

    #[test]
    fn a_failure_leaves_the_command() {
        let mut report = Report::new(false, false);
        assert!(report.install("one", "get one", || Ok(())));
        assert!(!report.install("two", "get two", || bail!("no network")));
        report.lacks("its twin", "get two");
        assert_eq!(report.missing(), ["get two"]);
    }
}
