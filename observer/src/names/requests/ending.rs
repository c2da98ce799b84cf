//! Requests that end with their connection.

use observer_ebpf::protocols::http::layout::{
    Current, Done, ENDED, ENDINGS, EVENT_STREAM, Ending, FRAMING, REQUESTS, RequestCounts, STREAMS,
    UNTIL_CLOSE,
};

/// How a connection ended, by its error (`sk_err`).
pub(super) fn ending(error: u8) -> Ending {
    const RESET: [i32; 2] = [libc::ECONNRESET, libc::EPIPE];
    match i32::from(error) {
        libc::ETIMEDOUT => Ending::Timeout,
        error if RESET.contains(&error) => Ending::Reset,
        _ => Ending::Closed,
    }
}

/// Adds the request that a connection was answering when it ended.
pub(super) fn add_ended(
    counts: &mut RequestCounts,
    current: &Current,
    error: u8,
    stream_after_ns: u64,
    now_ns: u64,
) {
    let is_until_close = current.kind & FRAMING == UNTIL_CLOSE && ending(error) == Ending::Closed;
    let is_ended = current.kind & ENDED != 0;
    // An event stream lasts as long as its connection, however long ago its last event was.
    let ends_with_its_bytes = is_until_close && current.kind & EVENT_STREAM == 0;
    let end_ns = if ends_with_its_bytes { current.last_ns } else { now_ns };
    let done = Done::of(current, end_ns, stream_after_ns);
    if is_until_close || is_ended {
        // When the last bytes moved that were not seen is not known.
        let is_timed = if is_ended { 0 } else { done.is_timed };
        counts.add(&Done { is_timed, ..done });
        return;
    }
    counts.words[REQUESTS] += 1;
    if done.is_stream != 0 {
        // That is how streams end.
        let stream = Done { is_timed: 1, ..done };
        stream.each(|place, amount| {
            if place >= STREAMS {
                counts.words[place] += amount;
            }
        });
        return;
    }
    counts.words[ENDINGS + ending(error) as usize] += 1;
}

#[cfg(test)]
mod tests {
    use observer_ebpf::protocols::http::layout::{
        CHUNKED, Current, DURATIONS, ENDINGS, EVENT_STREAM, Ending, REQUESTS, RESPONSE_SIZES, RequestCounts,
        SIZED, STREAMS, UNTIL_CLOSE,
    };

    const SECOND: u64 = 1_000_000_000;

    fn answering(kind: u8) -> Current {
        Current {
            start_ns: SECOND,
            first_ns: 2 * SECOND,
            last_ns: 3 * SECOND,
            response_bytes: 50,
            status: 200,
            kind,
            ..Current::NONE
        }
    }

    fn ended(current: &Current, error: i32, now_ns: u64) -> RequestCounts {
        let mut counts = RequestCounts::default();
        super::add_ended(&mut counts, current, u8::try_from(error).expect("an errno"), 10 * SECOND, now_ns);
        assert_eq!(counts.words[REQUESTS], 1);
        counts
    }

    #[test]
    fn an_answer_that_ends_with_its_connection_is_whole_at_its_last_byte() {
        let counts = ended(&answering(UNTIL_CLOSE), 0, 60 * SECOND);
        assert_eq!(counts.observed::<12>(DURATIONS).0, 2 * SECOND);
        assert_eq!(counts.observed::<8>(RESPONSE_SIZES), (50, [1, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(counts.words[ENDINGS..ENDINGS + 3], [0; 3]);
        let counts = ended(&answering(UNTIL_CLOSE), libc::ECONNRESET, 4 * SECOND);
        assert_eq!(counts.words[ENDINGS + Ending::Reset as usize], 1);
        assert_eq!(counts.observed::<12>(DURATIONS).0, 0);
    }

    #[test]
    fn an_event_stream_lasts_as_long_as_its_connection() {
        let counts = ended(&answering(UNTIL_CLOSE | EVENT_STREAM), 0, 62 * SECOND);
        assert_eq!(counts.observed::<8>(STREAMS), (60 * SECOND, [0, 0, 1, 0, 0, 0, 0, 0]));
        assert_eq!((counts.words[DURATIONS], counts.observed::<8>(RESPONSE_SIZES).0), (0, 50));
    }

    #[test]
    fn an_answer_that_is_not_whole_is_an_error_and_a_stream_is_none() {
        for (kind, error, ending) in [
            (0, 0, Ending::Closed),
            (SIZED, 0, Ending::Closed),
            (CHUNKED, libc::EPIPE, Ending::Reset),
            (SIZED, libc::ETIMEDOUT, Ending::Timeout),
        ] {
            let counts = ended(&answering(kind), error, 11 * SECOND);
            assert_eq!(counts.words[ENDINGS + ending as usize], 1, "{kind} {error}");
            assert_eq!(counts.words[DURATIONS], 0);
        }
        for kind in [CHUNKED | EVENT_STREAM, UNTIL_CLOSE | EVENT_STREAM, CHUNKED] {
            let counts = ended(&answering(kind), libc::ECONNRESET, 62 * SECOND + 1);
            assert_eq!(counts.words[ENDINGS..ENDINGS + 3], [0; 3], "{kind}");
            assert_eq!(counts.observed::<8>(STREAMS).0, 60 * SECOND + 1, "{kind}");
            assert_eq!(counts.observed::<8>(STREAMS).1[3], 1);
        }
    }
}
