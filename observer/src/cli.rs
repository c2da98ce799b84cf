//! The command line.

use clap::{Parser, Subcommand};

use crate::config::Flags;

/// Tells what the WebSocket, Postgres, Redis and other traffic of this host is doing, from the kernel.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe, and serve what is seen over HTTP, until SIGINT or SIGTERM
    Run(Box<Flags>),
    /// Say whether this host can do it, and why not; exits with 1 if not
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}
