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
    /// Show processes and flows on the terminal, live: what a running agent sees, or else this program itself
    Top {
        /// The agent to ask, `http://HOST:PORT`; `USER:PASSWORD@` may go before the host [default: the one at
        /// 127.0.0.1:9941, if there is one]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Print the busiest flows once, as a running agent sees them
    Flows {
        /// As JSON, the way the agent's /flows gives it.
        #[arg(long)]
        json: bool,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// The agent to ask, `http://HOST:PORT`; `USER:PASSWORD@` may go before the host
        #[arg(long, value_name = "URL", default_value_t = crate::top::default_url())]
        url: String,
    },
}
