//! Debian packages that cannot be installed, unpacked: where this host holds another version of something than they
//! want, apt would have to remove or replace what is not ours to touch.
//!
//! apt is asked what it would install on a host that has nothing, so that nothing is in its way. Of that, only what
//! this host does not have in the same or a newer version is unpacked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::{output, run, succeeds};
use crate::{tools, workspace};

/// Folders of a system that are links into `/usr`, as they have been on Debian since version 12.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// A package's file, and what is in its control file.
struct Package {
    file: PathBuf,
    name: String,
    version: String,
    depends: String,
}

/// Unpacks packages and what they depend on into the folder that [`tools`] looks in.
pub(super) fn unpack(packages: &[&str]) -> Result<()> {
    let directory = workspace::target().join("tools-packages");
    let found = download(packages, &directory)?;
    let exact = exact_versions(&found);
    let new = tools::unpacked().with_extension("new");
    prepare(&new)?;
    let mut count = 0;
    for package in &found {
        let Package { file, name, version, .. } = package;
        let is_exact = exact.contains(&(name.clone(), version.clone()));
        if !has(name, version, if is_exact { "eq" } else { "ge" }) {
            extract(file, &new)?;
            count += 1;
        }
    }
    fs::rename(&new, tools::unpacked()).context("cannot keep what was unpacked")?;
    fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    println!(
        "unpacked    {count} packages into {}, as they cannot be installed",
        tools::unpacked().display()
    );
    Ok(())
}

/// Has apt download packages and all that they depend on.
fn download(packages: &[&str], directory: &Path) -> Result<Vec<Package>> {
    let archives = directory.join("archives");
    fs::create_dir_all(archives.join("partial"))
        .with_context(|| format!("cannot make {}", archives.display()))?;
    let status = directory.join("status");
    fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-q", "--no-install-recommends", "--download-only"]);
    for (name, value) in [("Dir::State::status", &status), ("Dir::Cache::archives", &archives)] {
        apt.arg("-o").arg(format!("{name}={}", value.display()));
    }
    // As this user, whatever that is: the folders are its own.
    apt.args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]).args(packages);
    run(apt.stdout(Stdio::null()))?;
    let entries = archives.read_dir().with_context(|| format!("cannot read {}", archives.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).map(read).collect()
}

/// Reads a package's control file.
fn read(file: PathBuf) -> Result<Package> {
    let field = |name: &str| output(Command::new("dpkg-deb").arg("--field").arg(&file).arg(name));
    let [name, version, before, depends] = ["Package", "Version", "Pre-Depends", "Depends"]
        .map(|name| field(name).map(|value| value.trim().to_owned()).unwrap_or_default());
    if name.is_empty() || version.is_empty() {
        bail!("{} is no package", file.display());
    }
    Ok(Package { file, name, version, depends: format!("{before}, {depends}") })
}

/// Packages that another one wants in one version and no other.
fn exact_versions(packages: &[Package]) -> BTreeSet<(String, String)> {
    let wishes = packages.iter().flat_map(|package| package.depends.split([',', '|']));
    wishes
        .filter_map(|wish| {
            let (name, version) = wish.trim().split_once(" (= ")?;
            // Some name an architecture behind a colon.
            let name = name.split(':').next()?;
            Some((name.to_owned(), version.trim_end_matches(')').to_owned()))
        })
        .collect()
}

/// Whether this host has a package installed in a version that compares so with another.
fn has(name: &str, version: &str, how: &str) -> bool {
    let installed =
        output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status} ${Version}\n", name]));
    let installed = installed.unwrap_or_default();
    let found = installed.lines().find_map(|line| line.strip_prefix("installed "));
    found.is_some_and(|found| {
        succeeds(Command::new("dpkg").args(["--compare-versions", found.trim(), how, version]))
    })
}

/// Makes a folder that packages can be unpacked into, with all that was unpacked before.
fn prepare(folder: &Path) -> Result<()> {
    let make =
        |path: &Path| fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()));
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if tools::unpacked().is_dir() {
        return fs::rename(tools::unpacked(), folder).context("cannot add to what was unpacked");
    }
    for name in MERGED {
        make(&folder.join("usr").join(name))?;
        std::os::unix::fs::symlink(format!("usr/{name}"), folder.join(name))
            .with_context(|| format!("cannot make {name} in {}", folder.display()))?;
    }
    Ok(())
}

/// Unpacks a package's files, through links that are there.
fn extract(package: &Path, into: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb");
    let mut reading = dpkg
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let files = reading.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    run(tar.args(["-x", "--keep-directory-symlink", "-C"]).arg(into).stdin(files))?;
    if !reading.wait()?.success() {
        bail!("{} cannot be read", package.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_wishes_are_found_among_others() {
        let package = |depends: &str| Package {
            file: PathBuf::new(),
            name: "one".to_owned(),
            version: "1".to_owned(),
            depends: depends.to_owned(),
        };
        let packages = [
            package(", libc6 (>= 2.36), qemu-data (= 1:7.2+dfsg-7), seabios"),
            package("a | b:any (= 2-1), c"),
        ];
        let expected = [("b", "2-1"), ("qemu-data", "1:7.2+dfsg-7")];
        let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(exact_versions(&packages), BTreeSet::from(expected));
    }
}
