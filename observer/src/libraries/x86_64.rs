//! What is read of machine code on x86-64, whatever is looked for in it.

pub(super) mod listing;
pub(super) mod registers;
