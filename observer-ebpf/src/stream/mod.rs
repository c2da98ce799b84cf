//! What is the same for the streams of every protocol: where bytes come from, how a connection's protocol is found, and
//! what a parser is.

pub mod bytes;
pub mod carry;
pub(crate) mod lookups;
pub mod names;
pub mod parser;
pub mod pipeline;
pub mod prefix;
pub(crate) mod proxy;
pub mod session;
pub mod start;
pub mod subprograms;
pub(crate) mod text;
pub(crate) mod vocabulary;
