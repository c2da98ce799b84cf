//! The cases of llhttp's own tests (`recorded/llhttp`, as they are in version 9.4.2 of
//! <https://github.com/nodejs/llhttp>): Markdown, with the bytes of each case and what the parser tells of them, in which
//! `off` is how many bytes it has read. Those of its lenient modes, and of what its callbacks leave out, are none of these.

/// Files of cases, by their names.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../recorded/llhttp/", $name, ".md")))),*]
    };
}

const FILES: &[(&str, &str)] = files!(
    "request/connection",
    "request/content-length",
    "request/invalid",
    "request/lenient-header-value-relaxed",
    "request/lenient-headers",
    "request/method",
    "request/pausing",
    "request/pipelining",
    "request/sample",
    "request/transfer-encoding",
    "request/uri",
    "response/connection",
    "response/content-length",
    "response/invalid",
    "response/pausing",
    "response/pipelining",
    "response/sample",
    "response/transfer-encoding",
);

/// A case, and llhttp's verdict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// Its heading, and how often that has stood there before, if it has.
    pub(crate) name: String,
    /// Whether a server sends the bytes.
    pub(crate) is_response: bool,
    /// The bytes, up to where another protocol begins.
    pub(crate) bytes: Vec<u8>,
    /// Messages whose heads llhttp has taken.
    pub(crate) messages: Vec<Message>,
    /// Why llhttp refuses what comes behind them, if it does.
    pub(crate) refused: Option<String>,
    /// Whether another protocol follows.
    pub(crate) is_upgrade: bool,
    /// Whether the responses have no bodies, as they answer HEAD.
    pub(crate) skips_body: bool,
}

/// A message, as llhttp tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) status: u16,
    /// Bytes of its body so far.
    pub(crate) body: u64,
    /// Whether it is whole.
    pub(crate) is_over: bool,
}

/// What llhttp calls a pause for another protocol: behind a tunnel's request, an upgrade, and HTTP/2's preface.
const UPGRADES: [&str; 2] = ["22", "23"];

/// The strict cases of requests, or of responses, each with the name of its file.
pub(crate) fn cases(of_responses: bool) -> impl Iterator<Item = (&'static str, Case)> {
    let all = FILES.iter().flat_map(|&(file, text)| of_file(text).into_iter().map(move |case| (file, case)));
    all.filter(move |(_, case)| case.is_response == of_responses)
}

fn of_file(text: &str) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let (mut name, mut meta, mut bytes) = ("", "", Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("##") {
            name = heading.trim_start_matches('#').trim();
        } else if let Some(text) = line.strip_prefix("<!-- meta=") {
            meta = text;
        } else if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == "```http" {
                bytes = unescaped(&block.join("\n"));
            } else if let Some(is_response) = strict(meta) {
                let before = names.iter().filter(|known| *known == name).count();
                names.push(name.to_owned());
                let name = if before == 0 { name.to_owned() } else { format!("{name} ({})", before + 1) };
                let skips_body = meta.contains("skipBody");
                let bytes = core::mem::take(&mut bytes);
                all.push(judged(Case { name, is_response, bytes, skips_body, ..Case::default() }, &block));
            }
        }
    }
    all
}

/// Whether a case is of responses; `None` if it is of a lenient mode, or of a request whose body callbacks leave out.
fn strict(meta: &str) -> Option<bool> {
    let text: String = meta.chars().filter(|letter| !letter.is_whitespace()).collect();
    let is_response = text.contains("\"type\":\"response\"");
    let is_request = text.contains("\"type\":\"request\"") && !text.contains("skipBody");
    (is_request || is_response).then_some(is_response)
}

/// The case with what llhttp's log says of it.
fn judged(mut case: Case, log: &[&str]) -> Case {
    let mut next = Message::default();
    for line in log.iter().filter(|line| !line.starts_with('/')) {
        let (place, what) = line.strip_prefix("off=").and_then(|line| line.split_once(' ')).expect("a place");
        let place: usize = place.parse().expect("a number");
        assert!(place <= case.bytes.len() || case.is_upgrade, "{}: {line}", case.name);
        let (length, what) = match what.strip_prefix("len=").and_then(|what| what.split_once(' ')) {
            Some((length, what)) => (length.parse().expect("a number"), what),
            None => (0, what),
        };
        let text = || case.bytes[place..place + length].iter().copied().map(char::from).collect::<String>();
        if what == "message begin" {
            next = Message::default();
        } else if what.starts_with("span[method]") {
            next.method += &text();
        } else if what.starts_with("span[url]") {
            next.target += &text();
        } else if what.starts_with("span[body]") {
            case.messages.last_mut().expect("a message").body += length as u64;
        } else if let Some(head) = what.strip_prefix("headers complete ") {
            let status = head.strip_prefix("status=").and_then(|head| head.split(' ').next());
            next.status = status.map_or(0, |status| status.parse().expect("a number"));
            case.messages.push(core::mem::take(&mut next));
        } else if what == "message complete" {
            case.messages.last_mut().expect("a message").is_over = true;
        } else if let Some(error) = what.strip_prefix("error code=") {
            case.is_upgrade = UPGRADES.contains(&error.split(' ').next().expect("a number"));
            if case.is_upgrade {
                case.bytes.truncate(place);
            } else {
                case.refused = Some(error.to_owned());
            }
        }
    }
    case
}

/// The bytes of a block, in which lines end with CRLF, but for those that a backslash ends; others are written as in C.
fn unescaped(text: &str) -> Vec<u8> {
    let mut all = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        if first == '\n' {
            all += "\r\n";
            continue;
        }
        let escaped = if first == '\\' { rest.chars().next() } else { None };
        let (text, length) = match escaped {
            Some('\n') => (String::new(), 1),
            Some('r') => ("\r".to_owned(), 1),
            Some('n') => ("\n".to_owned(), 1),
            Some('t') => ("\t".to_owned(), 1),
            Some('f') => ("\x0c".to_owned(), 1),
            Some('x') => number(&rest[1..], 16, usize::MAX, 1),
            Some('0'..='7') => number(rest, 8, 3, 0),
            _ => (first.to_string(), 0),
        };
        all += &text;
        rest = &rest[length..];
    }
    all.into_bytes()
}

/// The character whose number at most so many digits spell, and how long that is with what stands before it.
fn number(text: &str, radix: u32, most: usize, before: usize) -> (String, usize) {
    let length = text.chars().take(most).take_while(|letter| letter.is_digit(radix)).count();
    let number = u32::from_str_radix(&text[..length], radix).expect("a number");
    (char::from_u32(number).expect("a character").to_string(), before + length)
}
