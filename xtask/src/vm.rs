//! `cargo xtask vm`: boots kernels of distributions in emulated machines, and has the agent count there.

mod image;
mod kernels;
mod machine;
mod packages;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::architecture::Architecture;
use crate::setup::{self, Needs};
use crate::{build, tools};

use kernels::{KERNELS, Kernel};
use machine::Report;

/// Machines at a time.
const AT_ONCE: usize = 2;

/// The command. Without names, one before 6.3, one of long term and the newest, all for x86-64.
pub(crate) fn command(names: &[String], all: bool, write_docs: bool) -> Result<()> {
    let chosen = kernels::chosen(names, all)?;
    let host = Architecture::host()?;
    let architectures: BTreeSet<Architecture> = chosen.iter().map(|kernel| kernel.architecture).collect();
    setup::ensure(Needs::Machines(&architectures.iter().copied().collect::<Vec<_>>()))?;
    let store = packages::Store::open(&chosen)?;
    let mut images = BTreeMap::new();
    for architecture in architectures {
        let busybox = if architecture == host {
            tools::find("busybox").context("there is no busybox")?
        } else {
            store.busybox(architecture)?
        };
        let [agent, guest] = build::guest(architecture)?;
        images.insert(architecture, image::make(architecture, &[busybox, agent, guest])?);
    }

    let queue = Mutex::new(chosen.iter());
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(kernel) = next(&queue) {
                    let report = store
                        .kernel(kernel)
                        .and_then(|(release, file)| {
                            machine::boot(kernel, release, &file, &images[&kernel.architecture])
                        })
                        .unwrap_or_else(|error| Report::failed(kernel, &format!("{error:#}")));
                    print!("{}", report.text());
                    if let Ok(mut reports) = reports.lock() {
                        reports.push(report);
                    }
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_default();
    reports.sort_by_key(|report| KERNELS.iter().position(|kernel| kernel.line == report.line));
    let bad: Vec<&str> =
        reports.iter().filter(|report| !report.is_good()).map(|report| report.line).collect();
    if !bad.is_empty() || reports.len() != chosen.len() {
        bail!("not as it should be on: {}", bad.join(", "));
    }
    println!("{} kernels: all as they should be", reports.len());
    if write_docs { table::write(&reports) } else { Ok(()) }
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'a, &'static Kernel>>) -> Option<&'a &'static Kernel> {
    queue.lock().ok()?.next()
}
