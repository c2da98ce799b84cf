//! Whole sessions: a start, and requests with their answers.

use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

use super::{Script, client, server};

/// Statements, and the tags of their commands.
pub(crate) const STATEMENTS: [(&str, &str); 22] = [
    ("SELECT 1", "SELECT 1"),
    ("select * from t where id = $1", "SELECT 120"),
    (" \t\r\n/* update /* b */ ' */ -- delete\n sElEcT 2", "SELECT 2"),
    ("INSERT INTO t VALUES (1)", "INSERT 0 1"),
    ("insert/**/into t default values", "INSERT 0 1"),
    ("update t set v = 1", "UPDATE 4711"),
    ("--\n--x\rUPDATE t set v = 1", "UPDATE 0"),
    ("DELETE FROM t", "DELETE 3"),
    ("delete", "DELETE 0"),
    ("with d as (delete from t returning *) select 1", "SELECT 1"),
    ("/**//***//* /*/**/*/ */(select 1)", "SELECT 1"),
    ("select_it", "CALL"),
    ("selects", "DO"),
    ("update2", "SET"),
    ("insert\u{e9}", "LISTEN"),
    ("BEGIN", "BEGIN"),
    ("commit", "COMMIT"),
    ("create table x as select 1", "SELECT 1"),
    ("vacuum", "VACUUM"),
    ("- select", "SHOW"),
    ("/ select", "CREATE TABLE AS"),
    ("/* never closed select", "FETCH 3"),
];

/// How a connection starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Trust,
    Password,
    Md5,
    Scram,
    /// `GSSENCRequest` and `SSLRequest`, both answered no.
    Refused,
    /// Version 3.2, answered with an older one.
    Newer,
    /// An error and the end.
    Full,
}

impl Start {
    pub(crate) const ALL: [Self; 7] =
        [Self::Trust, Self::Password, Self::Md5, Self::Scram, Self::Refused, Self::Newer, Self::Full];

    pub(crate) fn write(self, script: &mut Script) {
        let mut startup = client(|to| {
            frontend::startup_message([("user", "Z\u{5}"), ("database", "d")], to).expect("no zero bytes");
        });
        match self {
            Self::Trust | Self::Password | Self::Md5 | Self::Scram | Self::Full => {}
            Self::Refused => {
                script.client(&[0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x30]).server(b"N");
                script.client(&client(frontend::ssl_request)).server(b"N");
            }
            Self::Newer => startup[7] = 2,
        }
        script.client(&startup);
        match self {
            Self::Trust | Self::Refused => {}
            Self::Password | Self::Md5 => {
                let asked = if self == Self::Md5 {
                    server::authentication(5, b"salt")
                } else {
                    server::authentication(3, &[])
                };
                script.messages(&[asked]);
                script.client(&client(|to| frontend::password_message(b"Q\x04secret", to).expect("fine")));
            }
            Self::Scram => {
                let mut scram = ScramSha256::new(b"secret", ChannelBinding::unsupported());
                script.messages(&[server::authentication(10, b"SCRAM-SHA-256\0\0")]);
                let first = scram.message().to_vec();
                script.client(&client(|to| {
                    frontend::sasl_initial_response("SCRAM-SHA-256", &first, to).expect("fine");
                }));
                let first = String::from_utf8(first).expect("a text");
                let nonce = first.split_once("r=").expect("a nonce").1;
                let challenge = format!("r={nonce}x,s=tTW3DrR8PZU0tK9XlMInYQ==,i=2");
                script.messages(&[server::authentication(11, challenge.as_bytes())]);
                scram.update(challenge.as_bytes()).expect("a challenge");
                let proof = scram.message().to_vec();
                script.client(&client(|to| frontend::sasl_response(&proof, to).expect("fine")));
                script.messages(&[server::authentication(12, b"v=AAAA")]);
            }
            Self::Newer => {
                script.messages(&[server::message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0])]);
            }
            Self::Full => {
                script.messages(&[server::error("53300")]);
                return;
            }
        }
        script.wait(300_000);
        script.messages(&[
            server::authentication(0, &[]),
            server::parameter("server_version", "15.0"),
            server::notice(),
            server::key(),
            server::ready(b'I'),
        ]);
    }
}

/// A request and how it goes.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Simple {
        statement: usize,
        rows: Vec<usize>,
        error: Option<String>,
    },
    /// Several statements at once.
    Multi {
        statements: Vec<usize>,
        error: Option<String>,
    },
    Empty,
    Extended {
        statement: usize,
        name: String,
        describe: bool,
        rows: Vec<usize>,
        error: Option<String>,
    },
    /// A statement prepared before.
    Bound {
        statement: usize,
        name: String,
        rows: Vec<usize>,
        error: Option<String>,
    },
    Prepare {
        statement: usize,
        name: String,
    },
    /// As many rows as were asked for, and no more.
    Suspended {
        statement: usize,
        rows: Vec<usize>,
    },
    /// Several statements up to one Sync; the error is the last one's, and what is behind it is discarded.
    Batch {
        statements: Vec<usize>,
        flush: bool,
        error: Option<String>,
    },
    CopyIn {
        extended: bool,
        early_sync: bool,
        rows: Vec<usize>,
        fail: bool,
        error: Option<String>,
    },
    CopyOut {
        rows: Vec<usize>,
        error: Option<String>,
    },
    Function {
        size: usize,
        error: Option<String>,
    },
    Sync,
}

/// Bytes of one side.
type Part = (bool, Vec<u8>);

fn rows(sizes: &[usize]) -> Vec<Vec<u8>> {
    sizes.iter().map(|&size| server::row(&server::lookalike(size))).collect()
}

fn parse(name: &str, statement: usize) -> Vec<u8> {
    client(|to| frontend::parse(name, STATEMENTS[statement].0, [23, 0x5A00_0000], to).expect("no zero bytes"))
}

fn bind(name: &str) -> Vec<u8> {
    client(|to| {
        let write = |value: &[u8], to: &mut bytes::BytesMut| {
            to.extend_from_slice(value);
            Ok(IsNull::No)
        };
        let bound =
            frontend::bind("", name, [1], [b"Q\0\0\0\x04S\0\0\0\x04"], |value, to| write(value, to), [0], to);
        assert!(bound.is_ok(), "a short message");
    })
}

fn execute() -> Vec<u8> {
    client(|to| frontend::execute("", 0, to).expect("no zero bytes"))
}

fn query(text: &str) -> Vec<u8> {
    client(|to| frontend::query(text, to).expect("no zero bytes"))
}

fn finished(statement: usize, error: Option<&String>) -> Vec<u8> {
    error.map_or_else(|| server::complete(STATEMENTS[statement].1), |code| server::error(code))
}

fn batch(
    statements: &[usize],
    flush: bool,
    error: Option<&String>,
    answer: &impl Fn(Vec<Vec<u8>>) -> Part,
    ready: Vec<u8>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut asked = Vec::new();
    let mut messages = Vec::new();
    for (place, &statement) in statements.iter().enumerate() {
        asked.extend([parse("", statement), bind(""), execute()].concat());
        if flush {
            asked.extend(client(frontend::flush));
        }
        messages.extend([server::message(b'1', &[]), server::message(b'2', &[])]);
        let last = place + 1 == statements.len();
        messages.push(finished(statement, error.filter(|_| last)));
        if flush && !last {
            parts.push((false, std::mem::take(&mut asked)));
            parts.push(answer(std::mem::take(&mut messages)));
        }
    }
    if error.is_some() {
        // Not executed.
        asked.extend([parse("", 3), bind(""), execute()].concat());
    }
    asked.extend(client(frontend::sync));
    messages.push(ready);
    parts.extend([(false, asked), answer(messages)]);
    parts
}

fn copy_statement(extended: bool, early_sync: bool) -> Vec<u8> {
    let text = "copy t from stdin";
    if !extended {
        return query(text);
    }
    let parse = client(|to| frontend::parse("", text, [], to).expect("no zero bytes"));
    // The server takes no note of a Sync during the COPY.
    let last = if early_sync { client(frontend::sync) } else { client(frontend::flush) };
    [parse, bind(""), execute(), last].concat()
}

fn copied(rows: &[usize], fail: bool, extended: bool) -> Vec<u8> {
    let mut data: Vec<_> = rows.iter().flat_map(|&size| server::copied(&server::lookalike(size))).collect();
    data.extend(client(|to| {
        if fail {
            frontend::copy_fail("no", to).expect("no zero bytes");
        } else {
            frontend::copy_done(to);
        }
        if extended {
            frontend::sync(to);
        }
    }));
    data
}

impl Request {
    /// Its messages, and the answer's up to `ReadyForQuery`, in turn. `before` stands before the server's every
    /// message: anything that may come at any time.
    pub(crate) fn parts(&self, status: u8, before: &[u8]) -> Vec<Part> {
        let ready = server::ready(status);
        let sync = client(frontend::sync);
        let answer = |messages: Vec<Vec<u8>>| -> Part {
            let all = messages.into_iter().flat_map(|message| [before.to_vec(), message]);
            (true, all.flatten().collect())
        };
        match self {
            Self::Simple { statement, rows: sizes, error } => {
                let mut messages = vec![server::columns()];
                messages.extend(rows(sizes));
                messages.extend([finished(*statement, error.as_ref()), ready]);
                vec![(false, query(STATEMENTS[*statement].0)), answer(messages)]
            }
            Self::Multi { statements, error } => {
                let texts: Vec<_> = statements.iter().map(|&at| STATEMENTS[at].0).collect();
                let mut messages: Vec<_> =
                    statements.iter().map(|&at| server::complete(STATEMENTS[at].1)).collect();
                messages.extend(error.as_ref().map(|code| server::error(code)));
                messages.push(ready);
                vec![(false, query(&texts.join(";\n"))), answer(messages)]
            }
            Self::Empty => vec![(false, query("")), answer(vec![server::message(b'I', &[]), ready])],
            Self::Extended { statement, name, describe, rows: sizes, error } => {
                let mut asked = [parse(name, *statement), bind(name)].concat();
                if *describe {
                    asked.extend(client(|to| frontend::describe(b'P', "", to).expect("no zero bytes")));
                }
                asked.extend([execute(), sync].concat());
                let mut messages = vec![server::message(b'1', &[]), server::message(b'2', &[])];
                messages.extend(describe.then(server::columns));
                messages.extend(rows(sizes));
                messages.extend([finished(*statement, error.as_ref()), ready]);
                vec![(false, asked), answer(messages)]
            }
            Self::Bound { statement, name, rows: sizes, error } => {
                let mut messages = vec![server::message(b'2', &[])];
                messages.extend(rows(sizes));
                messages.extend([finished(*statement, error.as_ref()), ready]);
                vec![(false, [bind(name), execute(), sync].concat()), answer(messages)]
            }
            Self::Prepare { statement, name } => {
                let describe = client(|to| frontend::describe(b'S', name, to).expect("no zero bytes"));
                let close = client(|to| frontend::close(b'S', "z", to).expect("no zero bytes"));
                let parameters = server::message(b't', &[0, 1, 0, 0, 0, 0x17]);
                let messages = vec![
                    server::message(b'3', &[]),
                    server::message(b'1', &[]),
                    parameters,
                    server::message(b'n', &[]),
                    ready,
                ];
                vec![(false, [close, parse(name, *statement), describe, sync].concat()), answer(messages)]
            }
            Self::Suspended { statement, rows: sizes } => {
                let mut messages = vec![server::message(b'1', &[]), server::message(b'2', &[])];
                messages.extend(rows(sizes));
                messages.extend([server::message(b's', &[]), ready]);
                vec![(false, [parse("", *statement), bind(""), execute(), sync].concat()), answer(messages)]
            }
            Self::Batch { statements, flush, error } => {
                batch(statements, *flush, error.as_ref(), &answer, ready)
            }
            Self::CopyIn { extended, early_sync, rows, fail, error } => {
                let failed = error.clone().or_else(|| fail.then(|| String::from("57014")));
                let last = failed.map_or_else(|| server::complete("COPY 3"), |code| server::error(&code));
                let mut first = vec![server::copy(b'G')];
                if *extended {
                    first.splice(0..0, [server::message(b'1', &[]), server::message(b'2', &[])]);
                }
                vec![
                    (false, copy_statement(*extended, *early_sync)),
                    answer(first),
                    (false, copied(rows, *fail, *extended)),
                    answer(vec![last, ready]),
                ]
            }
            Self::CopyOut { rows, error } => {
                let mut messages = vec![server::copy(b'H')];
                messages.extend(rows.iter().map(|&size| server::copied(&server::lookalike(size))));
                match error {
                    Some(code) => messages.push(server::error(code)),
                    None => messages.extend([server::message(b'c', &[]), server::complete("COPY 3")]),
                }
                messages.push(ready);
                vec![(false, query("copy t to stdout")), answer(messages)]
            }
            Self::Function { size, error } => {
                let asked =
                    server::message(b'F', &[&[0, 0, 3, 0xBD][..], &server::lookalike(*size)].concat());
                let result = server::message(b'V', &[0, 0, 0, 4, 0, 0, 0, 1]);
                let last = error.as_ref().map_or(result, |code| server::error(code));
                vec![(false, asked), answer(vec![last, ready])]
            }
            // As libpq ends a pipeline.
            Self::Sync => vec![(false, [sync, client(frontend::flush)].concat()), answer(vec![ready])],
        }
    }

    /// Whether another request may follow before the answer.
    pub(crate) fn is_pipelined(&self) -> bool {
        !matches!(self, Self::CopyIn { .. } | Self::Batch { flush: true, .. })
    }

    /// Writes the request and its answer.
    pub(crate) fn write(&self, script: &mut Script, status: u8) {
        for (server, bytes) in self.parts(status, &[]) {
            if server {
                script.server(&bytes);
            } else {
                script.client(&bytes);
            }
        }
    }
}

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
        if start != Start::Full {
            Request::Bound { statement: 1, name: String::new(), rows: vec![12], error: None }
                .write(&mut script, b'I');
            script.client(&client(frontend::terminate));
        }
        sessions.push((start, script));
    }
    sessions
}
