//! Data and keys in, a screen out.

mod queues;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Modifier;

use super::draw::draw;
use super::source::{Query, Sample, Wanted};
use super::state::{Outcome, State};
use super::view::View;
use crate::flows::{Flows, Http, InFlight, PerDirection, Row, Sort};
use crate::processes::{Overview, Process};
use crate::recent::Recent;
use crate::routes::{Route, Routes};
use crate::table::{self, width};

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

fn process(name: &str, pid: u32, protocol: &str, [sent, received]: [f64; 2]) -> Process {
    Process {
        process: name.to_owned(),
        pid,
        connections: counts(&[(protocol, 3)]),
        bytes_per_second: PerDirection::new([sent, received]),
        ..Process::default()
    }
}

fn flow(name: &str, pid: u32, local: &str, [sent, received]: [f64; 2]) -> Row {
    Row {
        process: name.to_owned(),
        pid,
        container: String::new(),
        role: "client".to_owned(),
        protocol: "redis".to_owned(),
        local: local.to_owned(),
        remote: "127.0.0.1:6379".to_owned(),
        client: String::new(),
        netns: 1,
        bytes_per_second: PerDirection::new([sent, received]),
        messages_per_second: PerDirection::default(),
        bytes: PerDirection::default(),
        messages: PerDirection::default(),
        age_seconds: 3_725.0,
        rtt_seconds: Some(0.000_085),
        retransmits: 2,
        http: None,
    }
}

/// Three processes, the busiest first, and two flows.
fn sample() -> Sample {
    let mut redis = process("redis-server", 20, "redis", [9e6, 1e6]);
    redis.states = counts(&[("active", 1), ("idle", 2)]);
    redis.cache_hits = 3;
    redis.cache_misses = 1;
    let mut chat = process("chat", 10, "websocket", [1_000.0, 2_345.0]);
    chat.oversized = 4;
    chat.messages_per_second = PerDirection::new([100.0, 1.5]);
    let recent = |requests_per_second, errors_per_second, p95_seconds| Recent {
        requests_per_second,
        errors_per_second,
        p95_seconds,
    };
    chat.requests.insert("server".to_owned(), recent(1_500.0, 30.0, Some(0.123)));
    chat.requests.insert("client".to_owned(), recent(20.0, 0.0, None));
    let overview = Overview {
        version: "1.2.3".to_owned(),
        messages_per_second: 1_234.0,
        connections: counts(&[("redis", 3), ("websocket", 6)]),
        tls_hint: Some("2 connections are encrypted".to_owned()),
        processes: vec![redis, chat, process("evil\x1b[2J\r\u{202e}name", 30, "unknown", [0.0; 2])],
        ..Overview::default()
    };
    let flows =
        vec![flow("app", 40, "127.0.0.1:50000", [5.0, 0.0]), flow("web", 41, "127.0.0.1:50001", [1.0, 0.0])];
    let route = |role: &str, route: &str, recent| Route {
        process: "chat".to_owned(),
        role: role.to_owned(),
        server: "10.0.0.1:80".to_owned(),
        authority: if role == "client" { "api.example".to_owned() } else { String::new() },
        method: "GET".to_owned(),
        route: route.to_owned(),
        recent,
        requests: 12_345,
        errors: 67,
        ..Route::default()
    };
    let routes = vec![
        route("server", "/rooms/{id}/members/of/this/room", recent(1_400.0, 28.0, Some(0.123))),
        route("server", "/\u{202e}evil", recent(100.0, 2.0, Some(10.0))),
        route("client", "/idle", recent(0.0, 0.0, None)),
    ];
    let routes = Some(Routes { seconds: 10.0, routes });
    Sample { overview, flows: Some(Flows { flows }), routes, queues: Some(queues::sample()) }
}

fn live() -> State {
    let mut state = State::new("http://127.0.0.1:9941");
    state.on_answer(Ok(sample()), Instant::now());
    state
}

fn press(state: &mut State, code: KeyCode) -> Outcome {
    state.on_key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn write(state: &mut State, text: &str) {
    for letter in text.chars() {
        press(state, KeyCode::Char(letter));
    }
}

/// A text of a row.
fn text(row: &dyn table::Row, name: &str) -> String {
    row.texts().into_iter().find(|(one, _)| *one == name).map(|(_, text)| text).unwrap_or_default()
}

fn names(state: &State) -> Vec<String> {
    state.rows().into_iter().map(|row| text(row, "process")).collect()
}

fn terminal(width: u16, height: u16, state: &mut State) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    terminal.draw(|frame| draw(frame, state, Instant::now())).expect("it can be drawn on");
    terminal
}

fn screen(width: u16, height: u16, state: &mut State) -> Vec<String> {
    let terminal = terminal(width, height, state);
    let cells = terminal.backend().buffer().content();
    cells
        .chunks(usize::from(width))
        .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned())
        .collect()
}

#[test]
fn the_screen_shows_it_all() {
    let screen = screen(160, 14, &mut live());
    let text = screen.join("\n");
    for (line, parts) in [
        (0, &["observer 1.2.3", "http://127.0.0.1:9941", "● live"][..]),
        (1, &["messages/s", "1.23k", "bytes/s", "10.0M", "█"]),
        (2, &["requests/s", "1.50k", "errors 2.0% · as clients 20 · errors 0.0%"]),
        (3, &["connections", "9", "websocket 6 · redis 3"]),
        (4, &["sessions", "active 1 · idle 2"]),
        (5, &["oversized", " 4 ", "rate spikes 0", "cache hits 75.0%"]),
        (6, &["2 connections are encrypted"]),
        (7, &["1 Processes", "2 Flows", "3 Routes", "4 Queues", "3 of 3", "by bytes/s ↓"]),
        (8, &["PID", "PROCESS", "CONNS", "REQ/s", "P95", "ACTIVE", "SENT/s", "MSG OUT", "HIT%"]),
        (8, &["LAST MINUTE"]),
        (9, &["20", "redis-server", "9.00M", "1.00M", "75.0", "█"]),
        // What it answers, and not what it asks.
        (10, &["10", "chat", "1.50k", "2.0", "123ms", "1.00k", "2.35k", "100", "1.5", " 4 "]),
        (13, &["quit", "filter", "help"]),
    ] {
        for part in parts {
            assert!(screen[line].contains(part), "no {part:?} in line {line}:\n{text}");
        }
    }
}

#[test]
fn strangers_names_are_spelled_out() {
    let screen = screen(140, 14, &mut live()).join("\n");
    assert!(screen.contains("evil\\u{1b}[2J"), "{screen}");
    assert!(!screen.contains(|letter: char| letter != '\n' && letter.is_control()), "{screen:?}");
    assert!(!screen.contains('\u{202e}'), "{screen:?}");
}

#[test]
fn any_column_sorts_and_again_the_other_way_round() {
    let mut state = live();
    let evil = "evil\x1b[2J\r\u{202e}name";
    assert_eq!(names(&state), ["redis-server", "chat", evil]);
    write(&mut state, "o");
    assert_eq!(names(&state), ["chat", "redis-server", evil]);
    write(&mut state, "o");
    assert_eq!(names(&state), ["redis-server", evil, "chat"]);
    write(&mut state, "n");
    assert_eq!(names(&state), ["chat", evil, "redis-server"]);
    write(&mut state, "p");
    assert_eq!(names(&state), [evil, "redis-server", "chat"]);
    // Beside PID is PROCESS, and before it, all the way round, RETX.
    press(&mut state, KeyCode::Right);
    assert_eq!(state.order().column, Some(1));
    press(&mut state, KeyCode::Left);
    press(&mut state, KeyCode::Left);
    let screen = screen(80, 14, &mut state);
    assert!(screen[8].contains("RETX↓") && screen[7].contains("by RETX ↓"), "{screen:#?}");
    write(&mut state, "0");
    assert_eq!(names(&state), ["redis-server", "chat", evil]);
}

#[test]
fn typing_filters_and_escape_drops_it() {
    let mut state = live();
    write(&mut state, "/RED");
    assert_eq!(names(&state), ["redis-server"]);
    let lines = screen(80, 14, &mut state);
    assert!(lines[13].starts_with(" / RED") && lines[7].contains("1 of 3"), "{lines:#?}");
    // What are keys otherwise are letters now.
    write(&mut state, "q?/ ");
    assert!(names(&state).is_empty() && state.typing);
    for _ in 0..4 {
        press(&mut state, KeyCode::Backspace);
    }
    assert_eq!(names(&state), ["redis-server"]);
    press(&mut state, KeyCode::Enter);
    assert_eq!((state.typing, names(&state)), (false, vec!["redis-server".to_owned()]));
    assert!(state.query().processes > live().query().processes);
    press(&mut state, KeyCode::Esc);
    assert_eq!(names(&state).len(), 3);
    write(&mut state, "/nothing has this");
    let lines = screen(80, 14, &mut state);
    assert!(lines[10].contains("nothing matches"), "{lines:#?}");
}

#[test]
fn flows_are_asked_for_when_they_are_looked_at() {
    let mut state = live();
    assert_eq!(state.query().wanted, Wanted::Nothing);
    press(&mut state, KeyCode::Tab);
    assert_eq!(state.view, View::Flows);
    let Query { wanted: Wanted::Flows(limit, Sort::Bytes), .. } = state.query() else {
        panic!("{:?}", state.query())
    };
    let lines = screen(100, 14, &mut state);
    assert!(lines[9].contains("app") && lines[9].contains("127.0.0.1:50000"), "{lines:#?}");
    assert!(lines[7].contains("2 of 9"), "{lines:#?}");
    // The agent's order is that of the column, where it has one.
    write(&mut state, "t");
    assert_eq!(state.query().wanted, Wanted::Flows(limit, Sort::Rtt));
    write(&mut state, "/50001");
    let lines = screen(100, 14, &mut state);
    assert!(lines[9].contains("web") && lines[9].contains("85µs") && lines[10].is_empty(), "{lines:#?}");
}

#[test]
fn flows_of_http_say_what_they_wait_for() {
    let mut waiting = sample();
    let current = InFlight { route: "/slow".to_owned(), seconds: Some(3.2), ..InFlight::default() };
    let flows = waiting.flows.as_mut().expect("there are flows");
    flows.flows[1].http = Some(Http { requests: 41, in_flight: 1, current: Some(current) });
    let mut state = State::new("");
    state.on_answer(Ok(waiting), Instant::now());
    write(&mut state, "2w");
    let Wanted::Flows(_, Sort::Waiting) = state.query().wanted else { panic!("{:?}", state.query()) };
    let lines = screen(160, 14, &mut state);
    assert!(lines[8].contains("REQS") && lines[8].contains("WAIT↓"), "{lines:#?}");
    assert!(lines[9].contains("web") && lines[9].contains("41   3.2s"), "{lines:#?}");
    assert!(lines[10].contains("app") && lines[10].contains(" -      -"), "{lines:#?}");
    write(&mut state, "/route=/slow");
    assert_eq!(names(&state), ["web"]);
}

#[test]
fn routes_are_asked_for_sorted_and_filtered() {
    let mut state = live();
    write(&mut state, "3");
    let Query { wanted: Wanted::Routes(limit), .. } = state.query() else { panic!("{:?}", state.query()) };
    let lines = screen(132, 14, &mut state);
    let all = lines.join("\n");
    for (line, parts) in [
        (7, &["3 of 3", "by requests/s ↓"][..]),
        (8, &["PROCESS", "ROLE", "TO", "METHOD", "ROUTE", "REQ/s", "ERR%", "P95", "REQS"]),
        (9, &["chat", "server", "10.0.0.1:80", "GET", "/rooms/{id}/members/of/this/room", "1.40k"]),
        (9, &[" 2.0  123ms 12.3k"]),
        (10, &["/\\u{202e}evil", " 100   2.0    10s"]),
        // Nothing was answered: that is no time of 0.
        (11, &["client", "api.example", "/idle", "0     -      -"]),
    ] {
        for part in parts {
            assert!(lines[line].contains(part), "no {part:?} in line {line}:\n{all}");
        }
    }
    // The least important columns go, and routes are cut.
    let lines = screen(80, 14, &mut state);
    assert!(
        !lines[8].contains("TO") && lines[9].contains("/rooms/{id}/members") && lines[9].contains("123ms")
    );
    // By time, the slowest first; what took none is less than any.
    let paths = |state: &State| -> Vec<String> {
        state.rows().into_iter().map(|row| text(row, "route").chars().take(3).collect()).collect()
    };
    write(&mut state, "l");
    assert_eq!(paths(&state), ["/\u{202e}e", "/ro", "/id"]);
    write(&mut state, "l");
    assert_eq!(paths(&state), ["/id", "/ro", "/\u{202e}e"]);
    write(&mut state, "/role=client");
    assert_eq!(paths(&state), ["/id"]);
    assert!(matches!(state.query().wanted, Wanted::Routes(searched) if searched > limit));
    press(&mut state, KeyCode::Esc);
    write(&mut state, "/protocol=http api.ex");
    assert_eq!(paths(&state), ["/id"]);
    // Tab goes round.
    press(&mut state, KeyCode::Esc);
    for view in [View::Queues, View::Processes, View::Flows, View::Routes] {
        press(&mut state, KeyCode::Tab);
        assert_eq!(state.view, view);
    }
    press(&mut state, KeyCode::BackTab);
    assert_eq!(state.view, View::Flows);
}

#[test]
fn enter_shows_a_process_s_flows() {
    let mut state = live();
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Enter);
    assert_eq!((state.view, state.filter_text.as_str()), (View::Flows, "pid=10"));
    assert!(state.rows().is_empty());
}

#[test]
fn the_selected_row_is_followed() {
    let mut state = live();
    let selected = |state: &State| {
        let rows = state.rows();
        text(rows[state.selected(&rows)], "process")
    };
    assert_eq!(selected(&state), "redis-server");
    // Nobody has chosen: whoever is first is selected.
    write(&mut state, "o");
    assert_eq!(selected(&state), "chat");
    press(&mut state, KeyCode::Down);
    assert_eq!(selected(&state), "redis-server");
    write(&mut state, "p");
    assert_eq!(selected(&state), "redis-server");
    // It goes: the cursor stays near.
    let mut without = sample();
    without.overview.processes.remove(0);
    state.on_answer(Ok(without), Instant::now());
    assert_eq!(selected(&state), "chat");
    press(&mut state, KeyCode::Home);
    assert_eq!(state.selected(&state.rows()), 0);
}

#[test]
fn many_rows_scroll() {
    let mut many = sample();
    many.overview.processes = (0..100).map(|pid| process("p", pid, "http", [0.0; 2])).collect();
    let mut state = State::new("");
    state.on_answer(Ok(many), Instant::now());
    let pids = |state: &mut State| -> Vec<u32> {
        let lines = screen(80, 22, state);
        lines[9..21].iter().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
    };
    assert_eq!(pids(&mut state), (0..12).collect::<Vec<_>>());
    press(&mut state, KeyCode::PageDown);
    assert_eq!(pids(&mut state), (1..13).collect::<Vec<_>>());
    press(&mut state, KeyCode::End);
    assert_eq!(pids(&mut state), (88..100).collect::<Vec<_>>());
    press(&mut state, KeyCode::Up);
    assert_eq!(pids(&mut state), (88..100).collect::<Vec<_>>());
    press(&mut state, KeyCode::Home);
    assert_eq!(pids(&mut state), (0..12).collect::<Vec<_>>());
}

#[test]
fn paused_nothing_moves_and_afterwards_the_newest_is_shown() {
    let mut state = live();
    write(&mut state, " ");
    let before = screen(140, 14, &mut state);
    assert!(before[0].contains("paused"), "{before:#?}");
    let mut next = sample();
    next.overview.processes.truncate(1);
    next.overview.messages_per_second = 1e6;
    for _ in 0..3 {
        state.on_answer(Ok(next.clone()), Instant::now());
    }
    assert_eq!(screen(140, 14, &mut state), before);
    write(&mut state, " ");
    assert_eq!(names(&state), ["redis-server"]);
    let after = screen(140, 14, &mut state);
    assert!(after[1].contains("1.00M") && after[1].contains("▂███"), "{after:#?}");
}

#[test]
fn a_lost_agent_is_told_and_what_was_known_stays() {
    let mut state = live();
    let lost = Instant::now();
    state.on_answer(Err("GET http://a/b: no\x1b[2J route".to_owned()), lost);
    state.on_answer(Err("GET http://a/b: refused".to_owned()), lost + Duration::from_secs(1));
    assert_eq!(state.lost_for(lost + Duration::from_secs(12)), Some(Duration::from_secs(12)));
    let lines = screen(80, 14, &mut state);
    assert!(lines[0].contains("no answer for"), "{lines:#?}");
    assert!(lines[13].contains("refused") && lines[9].contains("redis-server"), "{lines:#?}");
    let faint = terminal(80, 14, &mut state);
    let cell = &faint.backend().buffer()[(1, 10)];
    assert!(cell.modifier.contains(Modifier::DIM), "{cell:?}");
    state.on_answer(Ok(sample()), Instant::now());
    assert!(screen(80, 14, &mut state)[0].contains("● live"));
}

#[test]
fn notices_are_one_harmless_line() {
    let mut state = live();
    state.on_notice("WARN  oversized message: \x1b]0;title\x07 huge\n");
    let lines = screen(80, 14, &mut state);
    assert!(lines[13].contains("oversized message: \\u{1b}]0;title\\u{7} huge"), "{lines:#?}");
}

#[test]
fn every_size_can_be_drawn() {
    let mut state = live();
    for view in ['1', '2', '4', '3'] {
        state.help = false;
        write(&mut state, &view.to_string());
        for help in [false, true] {
            state.help = help;
            for (columns, rows) in [(1, 1), (3, 40), (20, 5), (40, 10), (80, 24), (132, 43), (400, 100)] {
                let lines = screen(columns, rows, &mut state);
                assert!(lines.iter().all(|line| width(line) <= usize::from(columns)), "{lines:#?}");
            }
        }
    }
    // All keys are explained where a terminal is of the usual size.
    let lines = screen(80, 24, &mut state).join("\n");
    for part in ["any key goes back", "Ctrl-Z", "METHOD", "ERRS"] {
        assert!(lines.contains(part), "no {part}:\n{lines}");
    }
}

#[test]
fn keys_end_it() {
    let mut state = live();
    let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    assert_eq!(state.on_key(control('z')), Outcome::Suspend);
    assert_eq!(press(&mut state, KeyCode::Char('?')), Outcome::Continue);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Outcome::Quit);
    assert_eq!(press(&mut state, KeyCode::Esc), Outcome::Continue);
    assert!(!state.help);
    write(&mut state, "/q");
    assert!(state.typing);
    assert_eq!(state.on_key(control('c')), Outcome::Quit);
}
