//! `docs/kernels.md`, from what the kernels have shown.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use super::machine::Report;
use crate::workspace;

const INTRODUCTION: &str = "\
# Kernels

`cargo xtask vm --all --write-docs` has written this page from what it saw: it boots each of these kernels of
distributions in an emulated machine, of x86-64 or arm64, where the agent loads, attaches, and counts exactly what both
ends of connections pass on: WebSocket over TCP (IPv4, IPv6) and UNIX sockets through every kind of system call,
connections that were open before the agent, messages past each limit, and sessions of Redis and Postgres that were
recorded with real servers.

**Linux 5.17 or newer on x86-64, or 6.3 or newer on arm64, with BTF (`CONFIG_DEBUG_INFO_BTF=y`, which distributions set)**
is what the agent needs: every stream is parsed in a loop of `bpf_loop`, which came with 5.17. An older kernel is refused in
one line, unless its distribution has taken that over; `observer check` says what it finds. Without the helper, each loop would
have to be unrolled, or be a chain of tail calls, for kernels that reach the end of their lives: that is not worth a second way
through every parser. What is not in the table has not been booted.

Sends and receives are seen by tracepoints since Linux 6.3. Before, they are seen at the exits of the functions that
all of them end in, by the same parsers; what that costs has not been measured. On arm64 a program can be attached to such an
exit since 6.4 only, so that a kernel before 6.3 is refused there.

On arm64 the agent has run in these machines only: the tests with real servers, and all that is measured of costs, are from
x86-64; and an emulator keeps memory accesses in an order that arm64's processors need not keep. One limit is arm64's own: a
system call that returns the very number of its first argument (a write of 5 bytes to descriptor 5), while work of `io_uring`
that was put off runs at its end, is taken for one still in progress. That work's bytes may then be looked for in the wrong
place, for the registers do not tell the two apart.

What io_uring sends and receives is parsed since Linux 6.10, where its requests can be followed; before, it is counted as bytes,
and the two programs that follow them are left out.

Where a structure of the kernel lacks a member that programs read, `observer check` and `/status` name it. Round-trip
times, retransmits, reasons of failed connects, and messages that io_uring moves are then not known; other programs that read it are down while the rest
run; and where sends and receives themselves need it, or what finds the end of connections, the agent is refused.

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
