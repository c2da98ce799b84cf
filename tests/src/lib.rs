//! What end-to-end tests are made of: a running agent, its metrics, and the programs that it observes.
//!
//! They need root, the agent's binary in `OBSERVER_BIN` and the servers and clients in `OBSERVER_TEST_ENV`:
//! `cargo xtask test` provides all three. Without them a test fails and says so.

pub mod agent;
pub mod alertmanager;
pub mod bpf;
pub mod browser;
pub mod credentials;
pub mod crowd;
pub mod dashboards;
pub mod deployed;
pub mod ends;
pub mod gnutls;
pub mod haproxy;
pub mod held;
pub mod http;
pub mod kafka;
pub mod losses;
pub mod memcached;
pub mod metrics;
pub mod namespace;
pub mod nginx;
pub mod noise;
pub mod parted;
pub mod plaintext;
pub mod postgres;
pub mod programs;
pub mod prometheus;
pub mod puppet;
pub mod queues;
pub mod redis;
pub mod ring;
pub mod rules;
pub mod served;
pub mod service;
pub mod shown;
pub mod sooner;
pub mod ss;
pub mod talk;
pub mod terminal;
pub mod websocket;
