//! Whole sessions: a start, and requests with their answers.

use postgres_protocol::message::frontend;

use super::{Request, Script, Start, client, server};

/// One session with one of each kind of request, begun in every way.
pub(crate) fn known() -> Vec<(Start, Script)> {
    let code = |code: &str| Some(String::from(code));
    let requests = [
        (Request::Simple { statement: 0, rows: vec![1], error: None }, b'I'),
        (Request::Simple { statement: 2, rows: vec![0, 40, 7], error: code("22012") }, b'I'),
        (Request::Empty, b'I'),
        (Request::Simple { statement: 15, rows: vec![], error: None }, b'T'),
        (Request::Multi { statements: vec![3, 0, 5], error: code("23505") }, b'E'),
        (Request::Simple { statement: 16, rows: vec![], error: None }, b'I'),
        (
            Request::Extended {
                statement: 6,
                name: "a name".into(),
                describe: true,
                rows: vec![3],
                error: None,
            },
            b'T',
        ),
        (Request::Bound { statement: 1, name: "a name".into(), rows: vec![80; 7], error: None }, b'T'),
        (Request::Prepare { statement: 7, name: "other".into() }, b'I'),
        (Request::Suspended { statement: 10, rows: vec![5, 5] }, b'T'),
        (Request::Batch { statements: vec![15, 4, 7], flush: false, error: code("40001") }, b'I'),
        (Request::Batch { statements: vec![0, 5], flush: true, error: None }, b'I'),
        (
            Request::CopyIn {
                extended: false,
                early_sync: false,
                rows: vec![10, 60],
                fail: false,
                error: None,
            },
            b'I',
        ),
        (Request::CopyIn { extended: true, early_sync: true, rows: vec![33], fail: true, error: None }, b'I'),
        (
            Request::CopyIn { extended: true, early_sync: false, rows: vec![1], fail: false, error: None },
            b'I',
        ),
        (Request::CopyOut { rows: vec![100, 0, 1], error: None }, b'I'),
        (Request::Function { size: 30, error: None }, b'I'),
        (Request::Function { size: 3, error: code("42883") }, b'I'),
        (Request::Sync, b'I'),
        (Request::Replicate { sizes: vec![0, 700, 9], error: None }, b'I'),
        (Request::Replicate { sizes: vec![], error: code("57P01") }, b'I'),
    ];
    let mut sessions = Vec::new();
    for start in Start::ALL {
        let mut script = Script::new();
        start.write(&mut script);
        if start == Start::Trust {
            for (place, (request, status)) in requests.iter().enumerate() {
                if place % 3 == 1 {
                    script.messages(&[server::notification(), server::parameter("x", "y"), server::notice()]);
                }
                script.wait(place as u64 * 400_000);
                request.write(&mut script, *status);
            }
            // Three in flight, the first answered while the third is on its way.
            let [first, second, third]: [Vec<_>; 3] =
                [0, 6, 7].map(|at: usize| requests[at].0.parts(requests[at].1, &server::notice()));
            script.client(&first[0].1).client(&second[0].1).server(&first[1].1).client(&third[0].1);
            script.wait(2_000_000).server(&[&second[1].1[..], &third[1].1].concat());
        }
        if start.error().is_none() {
            Request::Bound { statement: 1, name: String::new(), rows: vec![12], error: None }
                .write(&mut script, b'I');
            script.client(&client(frontend::terminate));
        }
        sessions.push((start, script));
    }
    sessions
}
