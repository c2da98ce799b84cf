//! The endpoints.

mod page;
mod routes;

pub use routes::{Shared, router};
