//! Network namespaces.

use std::fs::File;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};

/// A network namespace with its loopback device up. Dropping it deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one.
    pub fn new() -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("obs{}-{number}", std::process::id()) };
        // The first one makes the folder that all are mounted in, which two must not do at once.
        let lock = File::create(std::env::temp_dir().join("observer-tests-netns"))?;
        lock.lock()?;
        ip(&["netns", "add", &namespace.name])?;
        drop(lock);
        namespace.run("ip", &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number by which the kernel tells it.
    pub fn inode(&self) -> anyhow::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Ok(std::fs::metadata(format!("/run/netns/{}", self.name))?.ino())
    }

    /// A command that executes its arguments inside.
    pub fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    /// Runs a program inside, which must succeed, and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        printed(self.command().arg(program).args(arguments))
    }

    /// Connects it with another one: `link`, at this address with its prefix's length, to the other's at that.
    pub fn connect(&self, link: &str, address: &str, other: &Self, to: &str) -> anyhow::Result<()> {
        let peer = format!("{link}p");
        ip(&[
            "link",
            "add",
            link,
            "netns",
            &self.name,
            "type",
            "veth",
            "peer",
            "name",
            &peer,
            "netns",
            &other.name,
        ])?;
        for (namespace, device, address) in [(self, link, address), (other, &*peer, to)] {
            namespace.run("ip", &["address", "add", address, "dev", device])?;
            namespace.run("ip", &["link", "set", device, "up"])?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody to tell if it fails.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    printed(Command::new("ip").args(arguments))
}

fn printed(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
