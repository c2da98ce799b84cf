//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
        /// How to ask an agent.
        #[command(flatten)]
        access: Access,
    },
    /// Print the busiest flows once, as a running agent sees them
    Flows {
        /// As JSON, the way the agent's /flows gives it.
        #[arg(long)]
        json: bool,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// How to ask an agent.
        #[command(flatten)]
        access: Access,
    },
}

/// Whom to ask, and what for credentials.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    /// The agent to ask, `http://HOST:PORT` or `https://HOST:PORT` [default: the one at 127.0.0.1:9941]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The name of a user, where the agent wants one
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// A file whose first line is the user's password; /dev/stdin for one that is piped in
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Certificates in PEM that the agent's must be signed by [default: those that this system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A certificate in PEM, where the agent wants clients to have one
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Ask whoever answers at the address, whatever its certificate says; it may be somebody else, who then learns
    /// the password
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
}
