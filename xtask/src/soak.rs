//! `cargo xtask soak`: the end-to-end test of everything at once, for long.

use anyhow::{Context as _, Result};

use crate::command::run;
use crate::setup::{self, Needs};
use crate::{build, test};

/// The command.
pub(crate) fn command(minutes: u32) -> Result<()> {
    setup::ensure(Needs::Everything)?;
    build::everything()?;
    let mut cargo = test::one("soak")?;
    cargo.env("OBSERVER_SOAK_SECONDS", (u64::from(minutes) * 60).to_string());
    run(&mut cargo).context("the soak")
}
