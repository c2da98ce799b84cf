//! observer: what the WebSocket, Postgres, Redis and other traffic of a Linux host is doing, from the kernel.
//!
//! ```text
//! kernel ──► probes ──► snapshot, names ──► ledger ──► metrics ──► web
//! offsets    load and   maps into           totals by   families    endpoints
//!            attach     plain data          process
//!                                              ▲           ▲
//!                                              └ protocols ┘
//!                                                totals and families of each
//! ```

pub mod address;
pub mod agent;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod connections;
pub mod counts;
pub mod events;
pub mod flows;
pub mod kernel;
pub mod labels;
pub mod ledger;
pub mod libraries;
pub mod list;
pub mod logging;
#[macro_use]
pub mod metrics;
pub mod names;
pub mod probes;
pub mod process;
pub mod processes;
pub mod protocols;
pub mod queues;
pub mod rates;
pub mod recent;
pub mod routes;
pub mod run;
pub mod service;
pub mod show;
pub mod snapshot;
pub mod table;
pub mod top;
pub mod web;
