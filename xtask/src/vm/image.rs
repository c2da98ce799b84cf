//! What a machine boots into: a shell of a few programs, the agent, and the guest that tests it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::architecture::Architecture;
use crate::command::output;
use crate::{tools, workspace};

/// The first process, whose child the guest is.
const INIT: &str = r"#!/bin/busybox sh
export PATH=/bin OBSERVER_BIN=/bin/observer
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox ip link set lo up
guest
busybox poweroff -f
";

/// Makes the image of these programs: an archive that the kernel unpacks into memory.
pub(super) fn make(architecture: Architecture, programs: &[PathBuf]) -> Result<PathBuf> {
    let directory = workspace::target().join("vm");
    let root = directory.join(architecture.name());
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    for folder in ["bin", "proc", "sys", "dev", "tmp"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut libraries = BTreeSet::new();
    for program in programs {
        let name = program.file_name().context("a program without a name")?;
        copy(architecture, program, &root.join("bin").join(name))?;
        libraries.extend(shared_libraries(program)?);
    }
    for library in libraries {
        copy(architecture, &library, &root.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    let init = root.join("init");
    fs::write(&init, INIT).with_context(|| format!("cannot write {}", init.display()))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    archive(&root, &directory.join(format!("{}.cpio", architecture.name())))
}

/// Copies a file, without what is there for debuggers only.
fn copy(architecture: Architecture, from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let stripped = tools::command(&architecture.tool("strip"))
        .arg("-o")
        .arg(to)
        .arg(from)
        .stderr(Stdio::null())
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// The shared libraries that a program is started with, and what starts it; none of a static one.
fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    // One that fails: it is not a dynamic executable.
    let Some(listing) = output(Command::new("ldd").arg(program)) else { return Ok(Vec::new()) };
    if listing.contains("not found") {
        bail!("{} has no library that it needs:\n{listing}", program.display());
    }
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(listing.lines().filter_map(path).collect())
}

/// Everything in a folder as one file, in the format of `Documentation/driver-api/early-userspace/buffer-format.rst`.
fn archive(root: &Path, file: &Path) -> Result<PathBuf> {
    let mut names = String::new();
    list(root, Path::new("."), &mut names)?;
    let to = fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut cpio = tools::command("cpio");
    cpio.args(["--quiet", "-o", "-H", "newc", "-R", "0:0"]).current_dir(root);
    let mut running = cpio.stdin(Stdio::piped()).stdout(to).spawn().context("cannot start cpio")?;
    running.stdin.take().context("cpio takes no names")?.write_all(names.as_bytes())?;
    if !running.wait()?.success() {
        bail!("cpio failed");
    }
    Ok(file.to_owned())
}

/// The names of everything below a folder, each on a line, a folder before what is in it.
fn list(root: &Path, folder: &Path, names: &mut String) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        names.push_str(&name.display().to_string());
        names.push('\n');
        if entry.file_type()?.is_dir() {
            list(root, &name, names)?;
        }
    }
    Ok(())
}
