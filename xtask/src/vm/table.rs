//! `docs/kernels.md`, from what the kernels have shown.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use super::machine::Report;
use crate::workspace;

const INTRODUCTION: &str = "\
# Kernels

`cargo xtask vm --all --write-docs` writes this page. It boots each of these kernels of distributions in an emulated
machine. There the agent must load, attach, and count exactly what both ends of connections pass on:

- WebSocket over TCP (IPv4, IPv6) and UNIX sockets, through every kind of system call;
- connections that were open before the agent;
- messages above each threshold;
- sessions of Redis and Postgres that were recorded with real servers;
- threads that preempt one another in the middle of a call;
- messages in memory that the kernel moves: here the agent may miss some, and must say how many bytes.

A kernel that is not in the table has not been booted.

## What is needed

**Linux 5.17 or newer on x86-64, or 6.3 or newer on arm64, with BTF** (`CONFIG_DEBUG_INFO_BTF=y`, which distributions
set). Every parser runs in a loop of `bpf_loop`, which came with 5.17. Older kernels are refused with one line, unless
the distribution has backported the helper. `observer check` says what it finds.

## What differs between kernels

- **Since 7.0** programs on tracepoints can be preempted. The agent attaches spare programs there, which take the calls
  that would be missed: see [metrics](metrics.md#runs-that-the-kernel-leaves-out).
- **Since 6.10** what io_uring sends and receives is parsed. Before, it is counted as bytes, and the two programs that
  follow requests are left out.
- **Since 6.3** two tracepoints show sends and receives. Before, the same parsers run at the exits of the kernel
  functions in which all of them end. What that costs has not been measured. On arm64 a program can be attached to such
  an exit only since 6.4, so kernels before 6.3 are refused there.
- **Structures**: where one lacks a member that programs read, `observer check` and `/status` name it. If the member is
  for round-trip times, retransmits, reasons of failed connects, or messages that io_uring moves, only these are
  missing. Otherwise the programs that read it are down, and the rest run. The agent is refused if these are the
  programs of sends and receives, or the one that finds the end of connections.

On arm64 the agent has run in emulated machines only. The tests with real servers and all measurements of costs are from
x86-64. An emulator also keeps memory accesses in an order that arm64 processors need not keep. One limit is special to
arm64: a system call that returns the number of its first argument, such as a write of 5 bytes to descriptor 5, is taken
for one still in progress if deferred work of io_uring runs at its end. That work's bytes may then be looked for in the
wrong place.

## Results

";

/// Writes the page.
pub(super) fn write(reports: &[Report]) -> Result<()> {
    let file = workspace::root().join("docs/kernels.md");
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(&file, page(reports)).with_context(|| format!("cannot write {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

fn page(reports: &[Report]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| kernel | default of | sends and receives seen by | tests |\n|---|---|---|---|\n");
    for report in reports {
        let (data_path, tests) = match &report.refused {
            Some(reason) => ("none".to_owned(), format!("refused: {reason}")),
            None => (report.data_path.clone(), report.tests.join(", ")),
        };
        let _ = writeln!(page, "| {} | {} | {data_path} | {tests} |", report.release, report.runs);
    }
    let names = program_names(reports);
    page.push_str(
        "\nInstructions that the verifier goes through in each program, of 1,000,000 that it allows:\n\n",
    );
    let _ = writeln!(page, "| program | {} |", lines(reports).join(" | "));
    let _ = writeln!(page, "|---|{}", "---:|".repeat(lines(reports).len()));
    for name in names {
        let counts: Vec<String> = reports
            .iter()
            .filter(|report| report.refused.is_none())
            .map(|report| {
                let found = report.programs.iter().find(|(known, _)| known == name);
                found.map(|(_, count)| count.to_string()).unwrap_or_default()
            })
            .collect();
        let _ = writeln!(page, "| `{name}` | {} |", counts.join(" | "));
    }
    page
}

/// The lines of kernels on which the agent runs, as a table's head has them.
fn lines(reports: &[Report]) -> Vec<String> {
    let runs = reports.iter().filter(|report| report.refused.is_none());
    runs.map(|report| report.line.replace('-', " ")).collect()
}

/// Every program that is on any of them.
fn program_names(reports: &[Report]) -> Vec<&str> {
    let mut names = Vec::new();
    for (name, _) in reports.iter().flat_map(|report| &report.programs) {
        if !names.contains(&name.as_str()) {
            names.push(name.as_str());
        }
    }
    names
}
