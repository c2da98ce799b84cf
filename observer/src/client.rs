//! A client of a running agent's HTTP endpoints.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_native_certs::load_native_certs;
use serde::de::DeserializeOwned;
use tokio_rustls::rustls::crypto::ring::default_provider;
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::cli::Access;
use crate::config::DEFAULT_LISTEN;
use crate::flows::{Flows, Sort};
use crate::processes::Overview;
use crate::queues::shown::Queues;
use crate::routes::Routes;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of an answer, in bytes: some 400 bytes a flow.
const LONGEST: u64 = 256 << 20;

/// What went wrong when an agent was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("--url {url}: {problem}; it is http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// What was given, without a password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of a flag is of no use.
    #[error("--{flag} {path}: {problem}")]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody listens there.
    #[error(
        "no agent answers at {url}: {problem}; start one with `observer run`, or name another with --url"
    )]
    Nobody {
        /// The agent that was asked.
        url: String,
        /// What the attempt to connect came to.
        problem: String,
    },
    /// It answered with a failure.
    #[error("GET {url}{path}: status {status}{}", advice(*.status))]
    Status {
        /// The agent that was asked.
        url: String,
        /// What it was asked for.
        path: String,
        /// The status it answered with.
        status: u16,
    },
    /// It did not answer, not in time, or not with what was asked for.
    #[error("GET {url}{path}: {problem}")]
    Answer {
        /// The agent that was asked.
        url: String,
        /// What it was asked for.
        path: String,
        /// What came instead.
        problem: String,
    },
}

const fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "; give --user NAME --password-file FILE",
        404 => "; is an observer of this version listening there?",
        _ => "",
    }
}

/// Asks one agent. Connections are kept open between questions.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    /// The URL that every path is put behind.
    base: String,
    /// The same without a password.
    shown: String,
    /// The header's value, where a user is named.
    authorization: Option<String>,
}

/// The header that names a user.
fn authorization(access: &Access) -> Result<Option<String>, Error> {
    let (Some(user), Some(path)) = (&access.user, &access.password_file) else { return Ok(None) };
    let text = read("password-file", path)?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let password = line.strip_suffix(b"\r").unwrap_or(line);
    let pair = [user.as_bytes(), b":", password].concat();
    Ok(Some(format!("Basic {}", STANDARD.encode(pair))))
}

/// Whom to trust, and who to be.
fn tls(access: &Access) -> Result<TlsConfig, Error> {
    let roots = match &access.ca_file {
        Some(path) => certificates("ca-file", path)?,
        // What cannot be read is trusted less.
        None if access.insecure => Vec::new(),
        None => load_native_certs().certs.iter().map(|one| Certificate::from_der(one).to_owned()).collect(),
    };
    let own = match (&access.cert_file, &access.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("cert-file", certificate)?;
            let key_of = PrivateKey::from_pem(&read("key-file", key)?);
            let key = key_of.map_err(|error| wrong_file("key-file", key, &error))?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(own)
        .disable_verification(access.insecure)
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .build())
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| wrong_file(flag, path, &error))
}

fn wrong_file(flag: &'static str, path: &Path, problem: &dyn Display) -> Error {
    Error::File { flag, path: path.to_owned(), problem: problem.to_string() }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let text = read(flag, path)?;
    let mut all = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(one) = item.map_err(|error| wrong_file(flag, path, &error))? {
            all.push(one);
        }
    }
    if all.is_empty() { Err(wrong_file(flag, path, &"holds no certificate")) } else { Ok(all) }
}

impl Client {
    /// A client of the agent at a URL: `http://[USER:PASSWORD@]HOST:PORT`, of which `http://` may be left out, as
    /// `https://` may be where a flag is about TLS.
    pub fn new(access: &Access) -> Result<Self, Error> {
        let wants_tls = access.insecure || access.ca_file.is_some() || access.cert_file.is_some();
        let url = access.url.clone().unwrap_or_else(|| DEFAULT_LISTEN.to_string());
        let scheme = if wants_tls { "https" } else { "http" };
        let whole = if url.contains("://") { url } else { format!("{scheme}://{url}") };
        let base = whole.trim_end_matches('/').to_owned();
        let shown = without_password(&base);
        let wrong = |problem: &str| Error::Url { url: shown.clone(), problem: problem.to_owned() };
        let uri: Uri = base.parse().map_err(|error| wrong(&format!("{error}")))?;
        let has_tls = match uri.scheme_str() {
            Some("http") if wants_tls => return Err(wrong("a flag is about TLS, which http:// has none of")),
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("not a URL that agents are asked at")),
        };
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(wrong("not the address of an agent"));
        }
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if has_user && access.user.is_some() {
            return Err(wrong("names a user, as --user does"));
        }
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            // What the environment names is for others' traffic: an agent is near.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")));
        if has_tls {
            config = config.tls_config(tls(access)?);
        }
        let agent = config.build().new_agent();
        Ok(Self { agent, base, shown, authorization: authorization(access)? })
    }

    /// The URL of the agent that is asked, without a password.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// What `/processes` says of the busiest so many.
    pub fn overview(&self, limit: usize) -> Result<Overview, Error> {
        self.json(&format!("/processes?limit={limit}"))
    }

    /// The first so many flows in an order.
    pub fn flows(&self, limit: usize, sort: Sort) -> Result<Flows, Error> {
        self.json(&format!("/flows?limit={limit}&sort={}", sort.name()))
    }

    /// The busiest routes of HTTP, at most `limit` of them.
    pub fn routes(&self, limit: usize) -> Result<Routes, Error> {
        self.json(&format!("/routes?limit={limit}"))
    }

    /// The message queues in which most wait, at most `limit` of them.
    pub fn queues(&self, limit: usize) -> Result<Queues, Error> {
        self.json(&format!("/queues?limit={limit}"))
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let text = self.text(path)?;
        serde_json::from_str(&text).map_err(|error| {
            self.answer(path, &format!("not what an observer of this version says: {error}"))
        })
    }

    /// The body that a path answers with.
    pub fn text(&self, path: &str) -> Result<String, Error> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let mut answer = request.call().map_err(|error| match error {
            ureq::Error::StatusCode(status) => {
                Error::Status { url: self.shown.clone(), path: path.to_owned(), status }
            }
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Error::Nobody { url: self.shown.clone(), problem: error.to_string() }
            }
            error @ (ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => {
                Error::Nobody { url: self.shown.clone(), problem: error.to_string() }
            }
            error => self.answer(path, &explained(&error)),
        })?;
        answer
            .body_mut()
            .with_config()
            .limit(LONGEST)
            .read_to_string()
            .map_err(|error| self.answer(path, &error.to_string()))
    }

    fn answer(&self, path: &str, problem: &str) -> Error {
        // What comes over the network may hold anything, and the message is one line.
        let problem = crate::show::clean(problem).into_owned();
        Error::Answer { url: self.shown.clone(), path: path.to_owned(), problem }
    }
}

/// What went wrong, and what may help.
fn explained(error: &ureq::Error) -> String {
    let text = error.to_string();
    if text.contains("UnknownIssuer") {
        format!("{text}; name who signed the agent's certificate with --ca-file")
    } else if text.contains("NotValidForName") {
        format!("{text}; ask with --url by a name that the agent's certificate has")
    } else if text.contains("CertificateRequired") {
        format!("{text}; give --cert-file and --key-file")
    } else if matches!(error, ureq::Error::Protocol(_)) {
        format!("{text}; does it want https://?")
    } else {
        text
    }
}

/// Others may look over one's shoulder.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    crate::show::clean(&format!("{scheme}://{}", &rest[host..])).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::{Access, Client, Error};

    fn at(url: &str) -> Result<Client, Error> {
        Client::new(&Access { url: Some(url.to_owned()), ..Access::default() })
    }

    /// Answers one request with this, and tells what was asked.
    fn serve(answer: &'static str) -> std::io::Result<(String, std::thread::JoinHandle<String>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = listener.local_addr()?.to_string();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client comes");
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap_or_default();
            stream.write_all(answer.as_bytes()).expect("it can be answered");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        Ok((url, asked))
    }

    #[test]
    fn addresses_are_checked_and_passwords_kept() {
        for (url, shown) in [
            ("127.0.0.1:9941", "http://127.0.0.1:9941"),
            ("http://[::1]:9941/", "http://[::1]:9941"),
            ("http://me:secret@host:1", "http://host:1"),
            ("me:secret@host:1", "http://host:1"),
        ] {
            let client = at(url).expect(url);
            assert_eq!(client.url(), shown);
        }
        for wrong in
            ["ftp://me:secret@host", "ftp://host", "", "http://", "http://a b", "http://h/?x", "\x1b[2J"]
        {
            let error = at(wrong).expect_err(wrong).to_string();
            assert!(!error.contains("secret") && !error.contains('\x1b'), "{error}");
            assert!(error.contains("--url") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn a_name_and_a_password_go_along() -> std::io::Result<()> {
        let (address, asked) = serve("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes")?;
        let client = at(&format!("me:secret@{address}")).expect("a URL");
        assert_eq!(client.text("/x").expect("an answer"), "yes");
        let asked = asked.join().expect("it ends").to_ascii_lowercase();
        assert!(asked.starts_with("get /x http/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: basic bwu6c2vjcmv0\r\n"), "{asked}");
        Ok(())
    }

    #[test]
    fn what_went_wrong_is_told_in_one_line() -> std::io::Result<()> {
        let (address, _) = serve("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")?;
        let error = at(&address).expect("a URL").text("/").expect_err("refused");
        assert!(matches!(error, Error::Status { status: 401, .. }), "{error:?}");
        assert!(error.to_string().contains("--password-file"), "{error}");

        let (address, _) = serve("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n\"\x1b[2J\"")?;
        let error = at(&address).expect("a URL").overview(1).expect_err("no JSON").to_string();
        assert!(error.lines().count() == 1 && !error.contains('\x1b'), "{error}");

        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let error = at(&free).expect("a URL").text("/").expect_err("nobody");
        assert!(matches!(error, Error::Nobody { .. }), "{error:?}");
        assert!(error.to_string().contains("observer run"), "{error}");
        Ok(())
    }
}
