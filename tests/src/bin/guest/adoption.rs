//! Connections that were open before the agent.

use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{REQUEST, RESPONSE, Wire};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// Such connections, in the middle of a conversation.
pub(crate) struct Before(Vec<Pair>);

impl Before {
    /// Opens them.
    pub(crate) fn connect() -> anyhow::Result<Self> {
        let pairs = vec![Pair::tcp("127.0.0.1")?, Pair::tcp("::1")?, Pair::unix()?];
        for pair in &pairs {
            pair.ask(REQUEST, WRITE, READ)?;
            pair.answer(RESPONSE, WRITE, READ)?;
            pair.ask(&Wire::client().message(Opcode::Text, 100).bytes, WRITE, READ)?;
        }
        Ok(Self(pairs))
    }

    /// Goes on, which is to be counted from there on.
    pub(crate) fn go_on(self, bench: &mut Bench) -> anyhow::Result<()> {
        for pair in &self.0 {
            // A call of whole frames is where the agent comes into sync.
            for size in [5, 200, 1_000] {
                let (mut asked, mut answered) = (Wire::client(), Wire::server());
                asked.message(Opcode::Text, size);
                answered.message(Opcode::Binary, size + 1);
                pair.ask(&asked.bytes, WRITE, READ)?;
                pair.answer(&answered.bytes, WRITE, READ)?;
                bench.exchange(&asked, &answered);
            }
            bench.open(1);
        }
        bench.settle()?;
        for pair in self.0 {
            drop(pair);
            bench.close("none");
        }
        bench.settle()
    }
}
