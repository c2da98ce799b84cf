//! Requests with their answers.

use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::{Script, client, query, server};

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
    /// Replication, which the client ends, or an error.
    Replicate {
        sizes: Vec<usize>,
        error: Option<String>,
    },
    Sync,
}

/// Bytes of one side.
type Part = (bool, Vec<u8>);

/// WAL streams until the client has had enough of it.
fn replicate(
    sizes: &[usize],
    error: Option<&String>,
    answer: &impl Fn(Vec<Vec<u8>>) -> Part,
    ready: Vec<u8>,
) -> Vec<Part> {
    let alive = server::replicated(b'k', &[]);
    let mut first = vec![server::copy(b'W'), alive.clone()];
    first.extend(sizes.iter().map(|&size| server::replicated(b'w', &server::lookalike(size))));
    let last = error.map_or_else(|| server::complete("START_STREAMING"), |code| server::error(code));
    vec![
        (false, query("START_REPLICATION SLOT s LOGICAL 0/0")),
        answer(first),
        (false, server::replicated(b'r', &[])),
        answer(vec![alive]),
        (false, client(frontend::copy_done)),
        answer(vec![server::message(b'c', &[]), last, ready]),
    ]
}

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
            Self::Replicate { sizes, error } => replicate(sizes, error.as_ref(), &answer, ready),
            // As libpq ends a pipeline.
            Self::Sync => vec![(false, [sync, client(frontend::flush)].concat()), answer(vec![ready])],
        }
    }

    /// Whether another request may follow before the answer.
    pub(crate) fn is_pipelined(&self) -> bool {
        !matches!(self, Self::CopyIn { .. } | Self::Replicate { .. } | Self::Batch { flush: true, .. })
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
