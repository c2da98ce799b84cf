//! Messages in memory whose pages the kernel moves meanwhile: a program that finds them gone waits until they are back.

// Who moves pages must not wait for a processor meanwhile: after a millisecond nobody waits for them any more.
// needs: host
// takes: 3 s

use anyhow::ensure;
use observer_tests::ring;
use observer_tests::websocket::alone;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::Sending;
use observer_tests::websocket::moving::{By, exchange};

#[test]
fn pages_that_are_moved_are_waited_for() -> anyhow::Result<()> {
    const MOVES: u32 = 300;
    let _alone = alone();
    let mut bench = Bench::start()?;
    let ways = [
        By::Address(Sending::Write(usize::MAX)),
        By::Address(Sending::Ring(ring::By::Thread, usize::MAX)),
        By::Message,
    ];
    for by in ways {
        let outcome = exchange(&mut bench, by, MOVES)?;
        println!("{by:?}: {outcome:?}");
        // Unless whoever moves pages is kept from it, as beside other work it may be. Without waiting, about
        // half of all moves cost a message.
        ensure!(outcome.unread * 20 <= outcome.moves, "{by:?}: {outcome:?}");
    }
    Ok(())
}
