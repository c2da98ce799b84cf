//! Python clients for the end-to-end tests, in an environment of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{apt, programs, report::Report, same};
use crate::command::{run, succeeds};
use crate::{tools, workspace};

const ITEM: &str = "Python clients";
const PACKAGE: [&str; 1] = ["python3-venv"];
const RETRY: &str = "cargo xtask setup";

pub(super) fn ensure(report: &mut Report) {
    let environment = workspace::test_env().join("venv");
    let wanted = workspace::root().join("tests/requirements.txt");
    if !present(&environment, &wanted) {
        if interpreter().is_none()
            && !report.install(PACKAGE[0], &apt::advice(&PACKAGE), || programs::install(&PACKAGE))
        {
            return;
        }
        if !report.install(ITEM, RETRY, || install(&environment, &wanted)) {
            return;
        }
    }
    report.found(ITEM, environment.display());
}

/// Its interpreter may have gone with an upgrade of the system's: the link then leads nowhere.
fn present(environment: &Path, wanted: &Path) -> bool {
    same(wanted, &installed(environment)) && succeeds(python(environment).arg("--version"))
}

/// The environment's interpreter.
fn python(environment: &Path) -> Command {
    tools::command(&environment.join("bin/python").display().to_string())
}

fn installed(environment: &Path) -> PathBuf {
    environment.join("requirements.txt")
}

fn install(environment: &Path, wanted: &Path) -> Result<()> {
    let interpreter = interpreter().context("no python3 that can make a virtual environment")?;
    run(tools::command(interpreter).args(["-m", "venv", "--clear"]).arg(environment))?;
    let mut pip = python(environment);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(wanted);
    run(&mut pip)?;
    fs::copy(wanted, installed(environment)).context("cannot note what was installed")?;
    Ok(())
}

/// A python3 that can make an environment with pip in it.
fn interpreter() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| succeeds(tools::command(python).args(["-c", "import ensurepip, venv"])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_of_other_requirements_does_not_count() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let environment = directory.path().join("venv");
        let wanted = directory.path().join("requirements.txt");
        fs::create_dir_all(environment.join("bin"))?;
        fs::write(&wanted, "websockets==2\n")?;
        std::os::unix::fs::symlink("/bin/true", environment.join("bin/python"))?;
        assert!(!present(&environment, &wanted), "nothing noted");
        fs::write(installed(&environment), "websockets==1\n")?;
        assert!(!present(&environment, &wanted), "another version");
        fs::write(installed(&environment), "websockets==2\n")?;
        assert!(present(&environment, &wanted));
        fs::remove_file(environment.join("bin/python"))?;
        assert!(!present(&environment, &wanted), "no interpreter");
        Ok(())
    }
}
