//! Kernels out of a distribution's packages, kept outside the repository.
//!
//! Which mirror they come from is what this host's own apt is set up with: its suites are other ones, so that a
//! private list names ours at the same places.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernels::Kernel;
use crate::architecture::Architecture;
use crate::command::{output, run};

/// Where programs come from for another machine than this one.
const BUSYBOX_SUITE: &str = "trixie";

/// The label of the archive that a suite belongs to.
fn label(suite: &str) -> &'static str {
    if suite.ends_with("-security") { "Debian-Security" } else { "Debian" }
}

/// Packages, and what has been unpacked of them.
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Asks the mirror what there is now; where it cannot be reached, what was known before is used.
    pub(crate) fn open(kernels: &[&Kernel]) -> Result<Self> {
        let store = Self { directory: cache()?.join("observer/kernels") };
        for directory in
            ["apt/lists/partial", "apt/amd64/archives/partial", "apt/arm64/archives/partial", "apt/sources"]
        {
            let directory = store.directory.join(directory);
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let host = Architecture::host()?;
        let mut suites = BTreeSet::new();
        for kernel in kernels {
            suites.insert((kernel.suite, kernel.architecture.debian()));
            if kernel.architecture != host {
                suites.insert((BUSYBOX_SUITE, kernel.architecture.debian()));
            }
        }
        let targets = output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            TARGET,
            "Created-By: Packages",
        ]))
        .context("apt-get does not tell where its packages come from")?;
        for (suite, architecture) in suites {
            let source = source(&targets, suite).with_context(|| {
                format!("this host's apt knows no archive {} that {suite} could come from", label(suite))
            })?;
            fs::write(store.list(suite), source)?;
            if run(store.apt("apt-get", suite, architecture).args(["-qq", "update"])).is_err() {
                println!("the list of {suite} is not up to date");
            }
        }
        Ok(store)
    }

    /// The release of the newest kernel of a line, and the file to boot.
    pub(crate) fn kernel(&self, kernel: &Kernel) -> Result<(String, PathBuf)> {
        let architecture = kernel.architecture.debian();
        let mut names = self.apt("apt-cache", kernel.suite, architecture);
        let listing = output(names.args(["pkgnames", "linux-"])).unwrap_or_default();
        let package = newest(&listing, kernel.version, architecture)
            .with_context(|| format!("{} has no kernel {}", kernel.suite, kernel.version))?;
        let release = release(package).to_owned();
        let file = self.directory.join(&release).join("vmlinuz");
        if !file.is_file() {
            // Since 6.19 it is with the modules.
            let candidates = [
                format!("boot/vmlinuz-{release}"),
                format!("usr/lib/modules/{release}/vmlinuz"),
                format!("lib/modules/{release}/vmlinuz"),
            ];
            self.unpack(kernel.suite, architecture, package, &candidates, &file)?;
        }
        Ok((release, file))
    }

    /// The programs that an image for another machine than this one starts with, in one file.
    pub(crate) fn busybox(&self, architecture: Architecture) -> Result<PathBuf> {
        let architecture = architecture.debian();
        let file = self.directory.join(format!("{architecture}/busybox"));
        if !file.is_file() {
            let candidates = ["usr/bin/busybox", "bin/busybox"].map(str::to_owned);
            self.unpack(BUSYBOX_SUITE, architecture, "busybox-static", &candidates, &file)?;
        }
        Ok(file)
    }

    /// Takes a file out of a package, where it has one of these paths, and leaves nothing else of it.
    fn unpack(
        &self,
        suite: &str,
        architecture: &str,
        package: &str,
        candidates: &[String],
        kept: &Path,
    ) -> Result<()> {
        println!("downloading {package}");
        let place = self.directory.join(format!("{package}-{architecture}.new"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let mut download = self.apt("apt-get", suite, architecture);
        run(download.args(["-qq", "download", package]).current_dir(&place))?;
        let archive = files(&place)?.into_iter().next().context("nothing was downloaded")?;
        let unpacked = place.join("unpacked");
        run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
        let found = candidates.iter().map(|path| unpacked.join(path)).find(|path| path.is_file());
        let found = found.with_context(|| format!("{package} has none of {}", candidates.join(", ")))?;
        if let Some(directory) = kept.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        fs::rename(found, kept).with_context(|| format!("cannot keep {}", kept.display()))?;
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))
    }

    fn list(&self, suite: &str) -> PathBuf {
        self.directory.join(format!("apt/sources/{suite}.list"))
    }

    /// apt with the list of one suite and architecture, and folders of its own.
    fn apt(&self, program: &str, suite: &str, architecture: &str) -> Command {
        let apt = self.directory.join("apt");
        let mut command = Command::new(program);
        for (name, value) in [
            ("Dir::Etc::SourceList", self.list(suite)),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", apt.join("lists")),
            ("Dir::Cache", apt.join(architecture)),
        ] {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        // As this user, whatever that is: the folders are its own. Nothing but packages; other suites' lists stay.
        for setting in [
            "APT::Sandbox::User=",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Get::List-Cleanup=false",
        ] {
            command.args(["-o", setting]);
        }
        for list in ["APT::Architecture=", "APT::Architectures="] {
            command.arg("-o").arg(format!("{list}{architecture}"));
        }
        command
    }
}

/// What is asked of apt's own lists: an archive's label, a keyring if it names one, and its place.
const TARGET: &str = "$(LABEL)|$(SIGNED_BY)|$(COMPONENT)|$(SITE)|$(REPO_URI)";

/// The line of a list for a suite, at the place where this host's apt has suites of the same archive.
fn source(targets: &str, suite: &str) -> Option<String> {
    targets.lines().find_map(|target| {
        let [found, keyring, component, _, place] = target.split('|').collect::<Vec<_>>()[..] else {
            return None;
        };
        if found != label(suite) || component != "main" {
            return None;
        }
        let option = if keyring.starts_with('/') { format!("[signed-by={keyring}] ") } else { String::new() };
        Some(format!("deb {option}{place} {suite} main\n"))
    })
}

/// The package with the image of a line's newest kernel.
fn newest<'a>(listing: &'a str, line: &str, architecture: &str) -> Option<&'a str> {
    let is_of_line = |package: &&str| {
        // Where there is an image on its own, the package that is named after it is empty.
        let version =
            ["linux-binary-", "linux-image-"].iter().find_map(|prefix| package.strip_prefix(prefix));
        let rest = version.and_then(|version| version.strip_prefix(line)?.strip_prefix('.'));
        rest.is_some_and(|rest| rest.ends_with(&format!("-cloud-{architecture}")))
    };
    let key = |package: &&str| (numbers(package), Reverse(package.starts_with("linux-image-")));
    listing.lines().filter(is_of_line).max_by_key(key)
}

/// The release of the kernel in a package.
fn release(package: &str) -> &str {
    package.trim_start_matches("linux-binary-").trim_start_matches("linux-image-")
}

/// All numbers in a name, by which versions are compared.
fn numbers(name: &str) -> Vec<u32> {
    let digits = name.split(|character: char| !character.is_ascii_digit());
    digits.filter_map(|number| number.parse().ok()).collect()
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

/// Where this user's caches are.
fn cache() -> Result<PathBuf> {
    if let Some(directory) =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute())
    {
        return Ok(directory);
    }
    match std::env::home_dir() {
        Some(home) => Ok(home.join(".cache")),
        None => bail!("there is no place for kernels; set XDG_CACHE_HOME"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "Node Source||main|http://node.example|http://node.example/\n\
        Debian|/usr/share/keyrings/one.gpg|main|http://one.example|http://one.example/debian/\n\
        Debian-Security||main|http://two.example|http://two.example/security/\n";

    #[test]
    fn suites_are_where_the_hosts_own_are() {
        let found = source(TARGETS, "trixie-backports");
        let expected =
            "deb [signed-by=/usr/share/keyrings/one.gpg] http://one.example/debian/ trixie-backports main\n";
        assert_eq!(found.as_deref(), Some(expected));
        let found = source(TARGETS, "trixie-security");
        assert_eq!(found.as_deref(), Some("deb http://two.example/security/ trixie-security main\n"));
        assert_eq!(source("Ubuntu||main|x|y\n", "trixie-backports"), None);
    }

    #[test]
    fn the_newest_of_a_line_is_found() {
        let listing = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\n\
                       linux-image-6.1.0-0.deb11.52-cloud-amd64\nlinux-image-6.12.9-cloud-amd64\n\
                       linux-image-6.1.0-57-cloud-arm64\nlinux-image-6.1.0-58-cloud-amd64-dbg\n";
        assert_eq!(newest(listing, "6.1", "amd64"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest(listing, "6.1", "arm64"), Some("linux-image-6.1.0-57-cloud-arm64"));
        assert_eq!(newest(listing, "6.2", "amd64"), None);
        let split = "linux-image-7.3.4+deb13-cloud-amd64\nlinux-binary-7.3.4+deb13-cloud-amd64\n";
        assert_eq!(newest(split, "7.3", "amd64"), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
        assert_eq!(release("linux-binary-7.3.4+deb13-cloud-amd64"), "7.3.4+deb13-cloud-amd64");
    }
}
