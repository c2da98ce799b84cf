//! The table of message queues.

use super::{KeyCode, live, press, screen, text, write};
use crate::queues::shown::{Queue, Queues, RecentAges};
use crate::table::Listed as _;
use crate::top::source::Wanted;
use crate::top::state::State;

/// A list at its server and at a worker, and a group of a stream, as the agent orders them.
pub(super) fn sample() -> Queues {
    let redis = Queue {
        process: "redis-server".to_owned(),
        role: "server".to_owned(),
        server: "10.0.0.7:6379".to_owned(),
        system: "redis_list".to_owned(),
        queue: "celery".to_owned(),
        messages: Some(1_234),
        oldest_seconds: Some(95.0),
        put_per_second: Some(40.0),
        taken_per_second: Some(12.5),
        ages: RecentAges { mean_age_seconds: Some(31.0), p95_age_seconds: Some(60.0) },
        ..Queue::default()
    };
    let worker = Queue {
        process: "celery".to_owned(),
        role: "client".to_owned(),
        messages: Some(0),
        oldest_seconds: Some(0.0),
        put_per_second: None,
        ..redis.clone()
    };
    let billing = Queue {
        process: "billing".to_owned(),
        system: "redis_stream".to_owned(),
        queue: "\u{202e}orders".to_owned(),
        group: "billing".to_owned(),
        messages: None,
        oldest_seconds: None,
        taken_per_second: Some(3.0),
        acknowledged_per_second: Some(2.0),
        ages: RecentAges { mean_age_seconds: Some(0.02), p95_age_seconds: Some(0.095) },
        ..worker.clone()
    };
    Queues { seconds: 10.0, queues: vec![redis, worker, billing] }
}

fn processes(state: &State) -> Vec<String> {
    state.rows().into_iter().map(|row| text(row, "process")).collect()
}

#[test]
fn queues_are_asked_for_sorted_and_filtered() {
    let mut state = live();
    write(&mut state, "4");
    let Wanted::Queues(limit) = state.query().wanted else { panic!("{:?}", state.query()) };
    let lines = screen(160, 14, &mut state);
    let all = lines.join("\n");
    for (line, parts) in [
        (7, &["3 of 3", "by waiting ↓"][..]),
        (8, &["SERVER", "SYSTEM", "QUEUE", "GROUP", "WAITING OLDEST PUT/s TAKE/s ACK/s    AGE    P95"]),
        (9, &["redis-server", "server 10.0.0.7:6379", "redis_list", "celery", "█"]),
        (9, &["  1.23k  1m35s    40   12.5     -    31s  1m00s"]),
        // There is no oldest one of none.
        (10, &["celery", "client", "      0      -     -   12.5     -    31s  1m00s", "▁"]),
        (11, &["redis_stream \\u{202e}orders", "billing", "      -      -     -      3     2 20.0ms 95.0ms"]),
    ] {
        for part in parts {
            assert!(lines[line].contains(part), "no {part:?} in line {line}:\n{all}");
        }
    }
    // What is not known has no past.
    assert!(!lines[11].contains('▁') && !all.contains('\u{202e}'), "{all}");
    // What waits, and how it comes and goes, is left on a small terminal.
    let lines = screen(80, 14, &mut state);
    assert!(
        lines[8].contains("QUEUE") && lines[8].contains("GROUP") && lines[8].contains("WAITING OLDEST PUT/s"),
        "{lines:#?}"
    );
    // What is not known is less than nothing.
    write(&mut state, "w");
    assert_eq!(processes(&state), ["redis-server", "celery", "billing"]);
    write(&mut state, "w");
    assert_eq!(processes(&state), ["billing", "celery", "redis-server"]);
    write(&mut state, "/group=billing");
    assert_eq!(processes(&state), ["billing"]);
    assert!(matches!(state.query().wanted, Wanted::Queues(searched) if searched > limit));
    press(&mut state, KeyCode::Esc);
    write(&mut state, "/queue=celery protocol=redis role=server");
    assert_eq!(processes(&state), ["redis-server"]);
    press(&mut state, KeyCode::Esc);
    write(&mut state, "/protocol=kafka");
    assert_eq!(processes(&state), [""; 0]);
}

#[test]
fn a_topic_is_of_kafka() {
    let topic = Queue { system: "kafka".to_owned(), ..Queue::default() };
    assert!(topic.texts().contains(&("protocol", "kafka".to_owned())));
}
