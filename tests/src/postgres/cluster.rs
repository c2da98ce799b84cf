//! Clusters, as `initdb` makes them: that is done once, and each server has a copy.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::server::PASSWORD;
use super::{as_user, give, printed, program};
use crate::programs::environment;

/// How a cluster is made. Who comes over TCP is trusted, too, where a test does not want it otherwise.
const ARGUMENTS: [&str; 9] = [
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
    "--auth-local=trust",
    "--auth-host=trust",
    "--pwfile=secret",
    "--pgdata=data",
];

/// Puts an empty cluster into a folder, as `data`. Whether clients over TCP must know the password can be chosen.
pub(super) fn make(folder: &Path, password: bool) -> anyhow::Result<()> {
    let data = folder.join("data");
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto"]).arg(original()?.join("data")).arg(&data);
    printed(&mut copy)?;
    if password {
        let file = data.join("pg_hba.conf");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().map(|line| match line.strip_suffix("trust") {
            Some(rest) if line.starts_with("host") => format!("{rest}scram-sha-256\n"),
            _ => format!("{line}\n"),
        });
        fs::write(&file, lines.collect::<String>())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The folder with the cluster that others are copies of, which is made where there is none of this version.
fn original() -> anyhow::Result<PathBuf> {
    let kept = environment()?.join("postgres-cluster");
    let initdb = program("initdb")?;
    let wanted = format!("{}\n{}\n", printed(Command::new(&initdb).arg("--version"))?, ARGUMENTS.join(" "));
    // Other processes may want it at the same time.
    let lock = File::create(environment()?.join("postgres-cluster.lock"))?;
    lock.lock().context("cannot wait for others who make a cluster")?;
    let note = kept.join("made-by");
    if fs::read_to_string(&note).is_ok_and(|made| made == wanted) {
        return Ok(kept);
    }
    if kept.exists() {
        fs::remove_dir_all(&kept).with_context(|| format!("cannot remove {}", kept.display()))?;
    }
    // Where the server's user may write.
    let folder = tempfile::tempdir()?;
    give(folder.path())?;
    let secret = folder.path().join("secret");
    fs::write(&secret, PASSWORD)?;
    give(&secret)?;
    printed(as_user()?.arg(initdb).args(ARGUMENTS).current_dir(folder.path()))?;
    printed(Command::new("cp").arg("--archive").arg(folder.path()).arg(&kept))?;
    fs::write(&note, wanted).with_context(|| format!("cannot write {}", note.display()))?;
    Ok(kept)
}
