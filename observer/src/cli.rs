//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Flags;

/// Exports metrics of the WebSocket, HTTP, Postgres, Redis, memcached and Kafka traffic of this host.
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
    /// Observe this host and serve metrics over HTTP, until SIGINT or SIGTERM
    Run(Box<Flags>),
    /// Say whether `run` would work on this host, and why not; exits with 1 if it would not
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show processes and flows live in the terminal, from a running agent or, without one, from programs of its own
    Top {
        /// How to ask an agent.
        #[command(flatten)]
        access: Access,
    },
    /// Print the busiest flows once, from a running agent
    Flows {
        /// As JSON, as the agent's /flows has it.
        #[arg(long)]
        json: bool,
        /// How many flows at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// How to ask an agent.
        #[command(flatten)]
        access: Access,
    },
}

/// Which agent to ask, and with which credentials.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    /// The agent to ask, `http://HOST:PORT` or `https://HOST:PORT` [default: 127.0.0.1:9941]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The user to log in as, where the agent asks for one
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// A file whose first line is the user's password; /dev/stdin reads it from a pipe
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// CA certificates in PEM, one of which must have signed the agent's [default: those that this system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A client certificate in PEM, where the agent asks for one
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Do not check the agent's certificate; somebody else may answer, and then learns the password
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
}
