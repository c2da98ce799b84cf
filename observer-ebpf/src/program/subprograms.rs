//! The parsers, cut into global functions.
//!
//! The verifier checks each once, for any arguments; what is inlined it walks again at every place where it is used, and
//! with every state that leads there. A name here begins with its protocol's, as `bpftool prog dump` shows it.

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Side};
use observer_ebpf::protocols::http::{self, Http};
use observer_ebpf::protocols::kafka::{self, Kafka};
use observer_ebpf::protocols::memcached::{self, Memcached};
use observer_ebpf::protocols::postgres::{self, Postgres};
use observer_ebpf::protocols::redis::{self, Redis};
use observer_ebpf::protocols::tls::{self, Tls};
use observer_ebpf::protocols::websocket::frames::{self, Frames};
use observer_ebpf::protocols::websocket::{self, WebSocket};
use observer_ebpf::stream::parser::{Parser, StreamId};
use observer_ebpf::stream::session::{self, Session};
use observer_ebpf::stream::subprograms::{Looks, Runs};

use crate::assembly::keep;
use crate::calls::buffers::Buffers;

/// Makes a function of each subprogram of a state. One that the state has and this list has not does not compile.
macro_rules! subprograms {
    ($state:ty, $module:ident: $($name:ident = $subprogram:ident;)*) => {
        $(
            /// A subprogram, which says what it returns.
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name(
                state: *mut $state,
                connection: *mut Connection,
                buffers: *mut Buffers,
                stream: u32,
            ) -> u32 {
                // SAFETY: null, or entries of maps that nothing else uses while the direction is locked.
                let (state, connection, buffers) =
                    unsafe { (state.as_mut(), connection.as_mut(), buffers.as_mut()) };
                let (Some(state), Some(connection), Some(buffers)) = (state, connection, buffers) else {
                    return 0;
                };
                let subprogram = $module::Subprogram::$subprogram;
                // Used by every one: a compiler that finds an argument to be of no use to a function passes anything,
                // and the verifier wants it to be a number.
                keep(u64::from(stream));
                state.run_subprogram(subprogram, StreamId::from_code(stream), buffers, connection)
            }
        )*

        impl Runs<$state> for Buffers {
            #[inline(always)]
            fn run(
                &mut self,
                subprogram: $module::Subprogram,
                state: &mut $state,
                stream: StreamId,
                connection: &mut Connection,
            ) -> u32 {
                match subprogram {
                    $($module::Subprogram::$subprogram => $name(state, connection, self, stream.code()),)*
                }
            }
        }
    };
}

/// Makes functions of the looks through whole calls, of each side.
macro_rules! looks {
    ($parser:ty: $client:ident, $server:ident) => {
        looks!($client, $parser, Client);
        looks!($server, $parser, Server);

        impl Looks<$parser> for Buffers {
            #[inline(always)]
            fn is_whole(&mut self, side: Side) -> bool {
                let is_whole = match side {
                    Side::Client => $client(self),
                    Side::Server => $server(self),
                };
                is_whole != 0
            }
        }
    };
    ($name:ident, $parser:ty, $side:ident) => {
        /// 1 if a call of this side consists of whole messages.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(buffers: *mut Buffers) -> u32 {
            // SAFETY: as for a subprogram.
            let buffers = unsafe { buffers.as_mut() };
            buffers.map_or(0, |buffers| u32::from(<$parser>::is_whole(Side::$side, buffers)))
        }
    };
}

subprograms! {
    Session, session:
    session_identify = Identify;
    session_header = Header;
    session_adopt = Adopt;
    session_conclude = Conclude;
}

/// [`Session::miss`]. The direction and the reason are passed, and the outcome returned, as their codes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn session_miss(
    session: *mut Session,
    connection: *mut Connection,
    direction: u32,
    why: u32,
    bytes: u64,
) -> u32 {
    // SAFETY: null, or entries of maps that nothing else uses while the direction is locked.
    let (session, connection) = unsafe { (session.as_mut(), connection.as_mut()) };
    let (Some(session), Some(connection), Some(why)) = (session, connection, Desync::from_code(why)) else {
        return 0;
    };
    Desync::code(session.miss(Direction::from_code(direction), bytes, why, connection))
}

subprograms! {
    Frames, frames:
    websocket_frames = Run;
}

subprograms! {
    Http, http:
    http_client_call = ClientCall;
    http_server_call = ServerCall;
    http_resync = Resync;
    http_request = Request;
    http_response = Response;
    http_segment = Segment;
    http_empty_path = EmptyPath;
    http_value = Value;
    http_request_head = RequestHead;
    http_response_head = ResponseHead;
    http_body = Body;
    http_settle = Settle;
    http_search = Search;
    http_early = Early;
}

subprograms! {
    WebSocket, websocket:
    websocket_seek = Seek;
    websocket_request = Request;
    websocket_lose = Lose;
    websocket_rest = Rest;
}

subprograms! {
    Postgres, postgres:
    postgres_client_call = ClientCall;
    postgres_server_call = ServerCall;
    postgres_client_iteration = ClientIteration;
    postgres_server_iteration = ServerIteration;
}

subprograms! {
    Kafka, kafka:
    kafka_client_call = ClientCall;
    kafka_server_call = ServerCall;
    kafka_client_step = ClientStep;
    kafka_server_step = ServerStep;
    kafka_client_action = ClientAction;
    kafka_server_action = ServerAction;
    kafka_client_resync = ClientResync;
    kafka_server_resync = ServerResync;
}

subprograms! {
    Memcached, memcached:
    memcached_client_call = ClientCall;
    memcached_server_call = ServerCall;
    memcached_first_reply = FirstReply;
    memcached_command = Command;
    memcached_reply = Reply;
}

subprograms! {
    Redis, redis:
    redis_client_call = ClientCall;
    redis_server_call = ServerCall;
    redis_plain_command = PlainCommand;
    redis_queue_command = QueueCommand;
    redis_command = Command;
    redis_argument = Argument;
    redis_queue_use = QueueUse;
    redis_inline = Inline;
    redis_plain_reply = PlainReply;
    redis_plain_queue_reply = PlainQueueReply;
    redis_reply = Reply;
    redis_line = Line;
    redis_value = Value;
    redis_queue_reply = QueueReply;
    redis_stream_reply = StreamReply;
    redis_stream_key = StreamKey;
}

subprograms! {
    Tls, tls:
    tls_call = Call;
    tls_step = Step;
}

/// Of protocols that are told by their first bytes alone, no call is looked through.
macro_rules! no_looks {
    ($($parser:ty)*) => {
        $(
            impl Looks<$parser> for Buffers {
                #[inline(always)]
                fn is_whole(&mut self, _side: Side) -> bool {
                    false
                }
            }
        )*
    };
}

no_looks! { Http WebSocket Tls }
looks! { Kafka: kafka_client_is_whole, kafka_server_is_whole }
looks! { Memcached: memcached_client_is_whole, memcached_server_is_whole }
looks! { Postgres: postgres_client_is_whole, postgres_server_is_whole }
looks! { Redis: redis_client_is_whole, redis_server_is_whole }
