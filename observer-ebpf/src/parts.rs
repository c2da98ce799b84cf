//! The parsers, cut into what the verifier looks at: each function here once and on its own, whatever it is called
//! with and from however many places. What is not cut, it follows again from every place and with every state.

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::health::Desync;
use observer_ebpf::wire::postgres::{self, Postgres};
use observer_ebpf::wire::redis::{self, Redis};
use observer_ebpf::wire::session::{Session, Stage};

use crate::requests::{self, Request};
use crate::user_memory::Buffers;

/// Brings a call's bytes from `offset` on within reach: see [`Buffers::refill`]. Exported, so that the verifier
/// looks at it on its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refill(buffers: *mut Buffers, offset: u32) -> u32 {
    // SAFETY: null, or this processor's element for this program: nothing else uses it while the program runs.
    unsafe { buffers.as_mut() }.map_or(0, |buffers| buffers.refill(offset))
}

/// [`requests::find`]: 1 if the buffers are known now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_request(buffers: *mut Buffers) -> u32 {
    // SAFETY: as above.
    unsafe { buffers.as_mut() }.map_or(0, |buffers| u32::from(requests::find(buffers)))
}

/// [`Request::take`]: 1 if the buffers are known now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_request(buffers: *mut Buffers, request: u64) -> u32 {
    // SAFETY: as above.
    unsafe { buffers.as_mut() }.map_or(0, |buffers| u32::from(Request(request).take(buffers)))
}

/// A [`Stage`], after which nothing can have gone wrong yet.
#[inline(always)]
fn stage(
    stage: Stage,
) -> impl FnOnce(&mut Session, Direction, &mut Buffers, &mut Connection) -> Option<Desync> {
    move |session, direction, buffers, connection| {
        session.run_stage(direction, stage, buffers, connection);
        None
    }
}

macro_rules! runs {
    ($($name:ident: $run:expr;)*) => {
        $(
            /// A stage, or a call's frames or messages; [`Desync::code`] of what went wrong. Exported, so that the
            /// verifier looks at it once and on its own.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name(
                session: *mut Session,
                connection: *mut Connection,
                buffers: *mut Buffers,
                direction: u32,
            ) -> u32 {
                // SAFETY: null, or elements of maps that nothing else uses while the direction is locked.
                let (session, connection, buffers) =
                    unsafe { (session.as_mut(), connection.as_mut(), buffers.as_mut()) };
                let (Some(session), Some(connection), Some(buffers)) = (session, connection, buffers) else {
                    return 0;
                };
                Desync::code($run(session, Direction::from_u32(direction), buffers, connection))
            }
        )*
    };
}

runs! {
    open: stage(Stage::Open);
    tell: stage(Stage::Tell);
    message: stage(Stage::Message);
    scan: stage(Stage::Scan);
    search: stage(Stage::Search);
    run_frames: Session::run_frames;
    client_messages: Session::run_messages::<false, Buffers>;
    server_messages: Session::run_messages::<true, Buffers>;
    client_commands: Session::run_commands::<false, Buffers>;
    server_replies: Session::run_commands::<true, Buffers>;
}

macro_rules! parts {
    ($parser:ty, $($name:ident: $part:expr;)*) => {
        $(
            /// A part of a parser, which says what it returns. Exported as a run is.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name(
                parser: *mut $parser,
                connection: *mut Connection,
                buffers: *mut Buffers,
            ) -> u32 {
                // SAFETY: as for a run.
                let (parser, connection, buffers) =
                    unsafe { (parser.as_mut(), connection.as_mut(), buffers.as_mut()) };
                let (Some(parser), Some(connection), Some(buffers)) = (parser, connection, buffers) else {
                    return 0;
                };
                parser.run_part($part, buffers, connection)
            }
        )*
    };
}

parts! {
    Postgres,
    postgres_client_step: postgres::Part::ClientStep;
    postgres_server_step: postgres::Part::ServerStep;
    postgres_client_whole: postgres::Part::ClientWhole;
    postgres_server_whole: postgres::Part::ServerWhole;
}

parts! {
    Redis,
    redis_whole: redis::Part::Whole;
    redis_commands: redis::Part::Commands;
    redis_argument: redis::Part::Argument;
    redis_inline: redis::Part::Inline;
    redis_plain: redis::Part::Plain;
    redis_replies: redis::Part::Replies;
    redis_take: redis::Part::Take;
    redis_value: redis::Part::Value;
}
