//! Node clients for the end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{report::Report, same};
use crate::command::run;
use crate::{tools, workspace};

const ITEM: &str = "Node clients";
const LOCK: &str = "package-lock.json";
const RETRY: &str = "cargo xtask setup";

pub(super) fn ensure(report: &mut Report) {
    let tests = workspace::root().join("tests");
    let environment = workspace::test_env();
    if !same(&tests.join(LOCK), &installed(&environment))
        && !report.install(ITEM, RETRY, || install(&tests, &environment))
    {
        return;
    }
    report.found(ITEM, environment.join("node_modules").display());
}

/// Inside `node_modules`, so that it goes when they do.
fn installed(environment: &Path) -> PathBuf {
    environment.join("node_modules").join(LOCK)
}

fn install(tests: &Path, environment: &Path) -> Result<()> {
    fs::create_dir_all(environment).with_context(|| format!("cannot make {}", environment.display()))?;
    for name in ["package.json", LOCK] {
        fs::copy(tests.join(name), environment.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let mut ci = tools::command("npm");
    ci.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(ci.current_dir(environment))?;
    fs::copy(tests.join(LOCK), installed(environment)).context("cannot note what was installed")?;
    Ok(())
}
