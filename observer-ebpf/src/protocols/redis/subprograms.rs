//! What the parser is cut into.

/// Functions that the verifier checks each on its own.
///
/// But for the first two, none runs another: before 6.13 the kernel gives all that are on the stack at once no more than
/// 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call of the client's: [`Outcome::code`](crate::stream::parser::Outcome::code).
    ClientCall,
    /// Takes in a call of the server's.
    ServerCall,
    /// A command in one piece, or what is not looked at, of the client's; asks for the next one.
    PlainCommand,
    /// A command in one piece that uses a queue; asks for the next one.
    QueueCommand,
    /// Anything else of the client's: asks for one of the two that follow.
    Command,
    /// An argument is over, as far as it is looked at; asks for the next one.
    Argument,
    /// It is known how a command uses a queue.
    QueueUse,
    /// A byte of an inline command.
    Inline,
    /// A plain reply, or what is not looked at, of the server's; asks for the next one.
    PlainReply,
    /// A plain reply that tells of a queue; asks for the next one, or the one that hands that on.
    PlainQueueReply,
    /// Anything else of the server's: asks for one of the two that follow.
    Reply,
    /// A line that starts a value.
    Line,
    /// Bytes of a value that is looked at.
    Value,
    /// What a line or a value tells of a list that is a queue.
    QueueReply,
    /// The same of a stream.
    StreamReply,
    /// The key, the group or an id of a command that uses a stream: asks for [`Subprogram::Argument`].
    StreamKey,
}

impl Subprogram {
    /// What a subprogram returns that wants this one run next: no [`Desync::code`](crate::layout::losses::Desync::code).
    #[inline(always)]
    pub(super) const fn asked(self) -> u32 {
        0x100 + self as u32
    }
}
