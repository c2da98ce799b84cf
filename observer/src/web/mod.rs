//! The endpoints, and the server that strangers may reach.
//!
//! ```text
//! serve ──► tls ──► auth ──► routes ──► the agent, on its own thread
//!   │        ▲        ▲
//!   clients  reload ◄─┴── web_config
//! ```

mod auth;
mod clients;
mod counts;
mod gzip;
mod negotiate;
mod page;
mod reload;
mod routes;
mod serve;
mod tls;
mod web_config;

pub use counts::{Counts, Reason};
pub use reload::{Loaded, Source};
pub use routes::{Questions, Shared};
pub use serve::serve;
