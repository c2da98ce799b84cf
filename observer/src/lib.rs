//! observer: what the WebSocket, Postgres, Redis and other traffic of a Linux host is doing, from the kernel.
//!
//! ```text
//! kernel ──► probes ──► snapshot ──► ledger ──► metrics ──► http
//! offsets    load and   maps into    totals by   families    endpoints
//!            attach     plain data   process
//! ```

pub mod address;
pub mod agent;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod events;
pub mod flows;
pub mod http;
pub mod kernel;
pub mod ledger;
pub mod list;
pub mod logging;
pub mod metrics;
pub mod postgres;
pub mod probes;
pub mod process;
pub mod processes;
pub mod rates;
pub mod redis;
pub mod run;
pub mod service;
pub mod show;
pub mod snapshot;
pub mod table;
pub mod top;
pub mod totals;
