//! What the running kernel is and has: its type information, its features, the calls that `aya` does not wrap.

pub mod batch;
mod bpf;
pub mod bpf_iter;
pub mod members;
pub mod namespaces;
pub mod needs;
pub mod pod;
pub mod preemption;
pub mod privileges;
