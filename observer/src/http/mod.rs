//! The endpoints.

mod page;
mod routes;

pub use routes::{Questions, Shared, router};
