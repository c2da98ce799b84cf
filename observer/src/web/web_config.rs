//! The file of `--web-config`: TLS and basic authentication in the format of Prometheus's exporter toolkit
//! (`docs/web-configuration.md` there), version of 2026.
//!
//! What this agent cannot do as the file says is an error that names the key; nothing is left out silently. Paths
//! are relative to the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bcrypt::HashParts;
use serde::Deserialize;
use serde_saphyr::options;

use super::tls::{ClientAuth, Curve, Pem, Suite, Tls, Version};

/// The most that a hash may cost: each step doubles it, and this takes some ten seconds.
const MAX_COST: u32 = 18;

/// The longest file, in bytes.
const LONGEST: usize = 1 << 20;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct WebConfig {
    /// Without it, HTTP is spoken in plain.
    pub(super) tls: Option<Tls>,
    /// Hashes of passwords by the user's name; without any, everybody may ask.
    pub(super) users: BTreeMap<String, String>,
    /// Headers that every answer has.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// How many requests are answered.
    pub(super) rate_limit: Option<RateLimit>,
}

/// A bucket of tokens, one for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateLimit {
    /// After which time there is one token more.
    pub(super) interval: Duration,
    /// How many tokens there may be.
    pub(super) burst: u32,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<RateLimitSection>,
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct TlsSection {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    client_auth_type: Option<String>,
    client_ca_file: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateLimitSection {
    interval: Option<String>,
    burst: Option<u32>,
}

impl WebConfig {
    /// Reads what a file says. An error is one line, and has no secret in it.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        // A piece of the text may be a piece of a key.
        let options = options! { with_snippet: false };
        let file: Option<File> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
        let file = file.unwrap_or_default();
        let section = file.tls_server_config.unwrap_or_default();
        let tls = if section == TlsSection::default() { None } else { Some(section.resolve(directory)?) };
        let users = file.basic_auth_users.unwrap_or_default();
        for (user, hash) in &users {
            check_user(user, hash)?;
        }
        let http = file.http_server_config.unwrap_or_default();
        if http.http2 == Some(true) {
            return Err(
                "http_server_config.http2: this agent speaks HTTP/1.1; say false, or leave it out".into()
            );
        }
        let headers = http.headers.unwrap_or_default();
        let headers =
            headers.iter().map(|(name, value)| header(name, value)).collect::<Result<Vec<_>, _>>()?;
        let rate_limit = file.rate_limit.unwrap_or_default().resolve()?;
        Ok(Self { tls, users, headers: headers.into_iter().flatten().collect(), rate_limit })
    }

    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.tls.iter().flat_map(Tls::files)
    }
}

fn check_user(user: &str, hash: &str) -> Result<(), String> {
    let wrong = |problem: &str| format!("basic_auth_users.{}: {problem}", user.escape_debug());
    if user.contains(':') {
        return Err(wrong("a name cannot have a colon in it"));
    }
    // The error of parsing has the hash in it.
    let parts: HashParts =
        hash.parse().map_err(|_| wrong("not a bcrypt hash; `htpasswd -nBC 10 NAME` makes one"))?;
    if !(4..=MAX_COST).contains(&parts.get_cost()) {
        return Err(wrong(&format!("a cost of {} is not in 4..={MAX_COST}", parts.get_cost())));
    }
    Ok(())
}

/// A header that answers may have; `None` if its value is blank.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let wrong = |problem: &str| format!("http_server_config.headers.{}: {problem}", name.escape_debug());
    let values: &[&str] = match name {
        "X-Content-Type-Options" => &["nosniff"],
        "X-Frame-Options" => &["deny", "sameorigin"],
        "Strict-Transport-Security" | "X-XSS-Protection" | "Content-Security-Policy" => &[],
        _ => return Err(wrong("not a header that can be set")),
    };
    if value.is_empty() {
        return Ok(None);
    }
    if !values.is_empty() && !values.contains(&value) {
        return Err(wrong(&format!("not one of {}", values.join(" and "))));
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
    let value = HeaderValue::from_str(value).map_err(|error| wrong(&error.to_string()))?;
    Ok(Some((name, value)))
}

impl TlsSection {
    fn resolve(self, directory: &Path) -> Result<Tls, String> {
        let pem = |name: &str, inline: Option<String>, file: Option<String>| {
            let [inline, file] = [inline, file].map(|one| one.filter(|text| !text.is_empty()));
            match (inline, file) {
                (Some(_), Some(_)) => Err(wrong(name, &format!("give this or {name}_file, not both"))),
                (Some(text), None) => Ok(Some(Pem::Inline(text))),
                (None, Some(path)) => Ok(Some(Pem::File(directory.join(path)))),
                (None, None) => Ok(None),
            }
        };
        let needed = |name: &str, pem: Option<Pem>| {
            pem.ok_or_else(|| wrong(&format!("{name}_file"), "TLS cannot be spoken without it"))
        };
        let certificate = needed("cert", pem("cert", self.cert, self.cert_file)?)?;
        let key = needed("key", pem("key", self.key, self.key_file)?)?;
        let client_ca = pem("client_ca", self.client_ca, self.client_ca_file)?;
        let client_auth = ClientAuth::parse(self.client_auth_type.as_deref().unwrap_or_default())
            .map_err(|problem| wrong("client_auth_type", &problem))?;
        match (client_auth, &client_ca) {
            (None, Some(_)) => return Err(wrong("client_auth_type", "a client_ca is of no use without it")),
            // Anybody can have a certificate that the system trusts.
            (Some(ClientAuth::Required), None) => {
                return Err(wrong("client_ca_file", "nobody in particular is let in without it"));
            }
            (Some(_), Some(_)) | (Some(ClientAuth::IfGiven) | None, None) => {}
        }
        let client_names = self.client_allowed_sans.filter(|names| !names.is_empty());
        if client_names.is_some() && client_auth.is_none() {
            return Err(wrong("client_auth_type", "client_allowed_sans are of no use without it"));
        }
        let version = |name: &str, text: Option<String>, default| {
            text.map_or(Ok(default), |text| Version::parse(&text).map_err(|problem| wrong(name, &problem)))
        };
        let min_version = version("min_version", self.min_version, Version::Tls12)?;
        let max_version = version("max_version", self.max_version, Version::Tls13)?;
        if min_version > max_version {
            return Err(wrong("min_version", "greater than max_version"));
        }
        let suites = self.cipher_suites.unwrap_or_default();
        let suites: Result<_, String> = suites.iter().map(|name| Suite::parse(name)).collect();
        let curves = self.curve_preferences.unwrap_or_default();
        let curves: Result<_, String> = curves.iter().map(|name| Curve::parse(name)).collect();
        Ok(Tls {
            certificate,
            key,
            client_ca,
            client_auth,
            client_names: client_names.unwrap_or_default(),
            min_version,
            max_version,
            suites: suites.map_err(|problem| wrong("cipher_suites", &problem))?,
            prefers_own_order: self.prefer_server_cipher_suites.unwrap_or(true),
            curves: curves.map_err(|problem| wrong("curve_preferences", &problem))?,
        })
    }
}

fn wrong(key: &str, problem: &str) -> String {
    format!("tls_server_config.{key}: {problem}")
}

impl RateLimitSection {
    fn resolve(self) -> Result<Option<RateLimit>, String> {
        let interval = duration(self.interval.as_deref().unwrap_or("0"))
            .ok_or("rate_limit.interval: not a duration such as 500ms or 1m30s")?;
        if interval.is_zero() {
            return Ok(None);
        }
        let burst = self.burst.filter(|&burst| burst > 0);
        let burst = burst.ok_or("rate_limit.burst: without at least 1 nothing is ever answered")?;
        Ok(Some(RateLimit { interval, burst }))
    }
}

/// A duration as Go writes it: decimal numbers, each with a unit, of at most a day.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, scale) = UNITS.into_iter().find(|&(name, _)| name == unit)?;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (seconds <= 86_400.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Pem, RateLimit, WebConfig, duration};
    use crate::web::tls::{ClientAuth, Version};

    fn parse(text: &str) -> Result<WebConfig, String> {
        WebConfig::parse(text, Path::new("/etc/observer"))
    }

    /// `alice123`, from the toolkit's own tests.
    const HASH: &str = "$2y$12$1DpfPeqF9HzHJt.EWswy1exHluGfbhnn3yXhR7Xes6m3WJqFg0Wby";

    #[test]
    fn a_whole_file_is_read() {
        let text = format!(
            "# Comments.\ntls_server_config:\n  cert_file: server.crt\n  key_file: /run/server.key\n  \
            client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: \"ca.crt\"\n  \
            client_allowed_sans: [ scraper.example ]\n  min_version: TLS13\n  max_version: TLS13\n  \
            cipher_suites:\n    - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  prefer_server_cipher_suites: false\n  \
            curve_preferences: [CurveP256, X25519]\n\
            http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    \
            Strict-Transport-Security: max-age=31536000; includeSubDomains\n    Content-Security-Policy: ''\n\
            basic_auth_users:\n  alice: {HASH}\n  bob: '{HASH}'\n\
            rate_limit:\n  interval: \"1s\"\n  burst: 20\n"
        );
        let config = parse(&text).expect("it is right");
        let tls = config.tls.as_ref().expect("it has TLS");
        assert_eq!(tls.certificate, Pem::File("/etc/observer/server.crt".into()));
        assert_eq!(tls.key, Pem::File("/run/server.key".into()));
        assert_eq!(tls.client_auth, Some(ClientAuth::Required));
        assert_eq!(tls.client_names, ["scraper.example"]);
        assert_eq!((tls.min_version, tls.max_version), (Version::Tls13, Version::Tls13));
        assert_eq!((tls.suites.len(), tls.curves.len(), tls.prefers_own_order), (1, 2, false));
        assert_eq!(config.users.len(), 2);
        assert_eq!(config.users["alice"], config.users["bob"]);
        let headers: Vec<_> =
            config.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 3] = [
            ("strict-transport-security", b"max-age=31536000; includeSubDomains"),
            ("x-frame-options", b"deny"),
            ("x-xss-protection", b"1"),
        ];
        assert_eq!(headers, expected);
        assert_eq!(config.rate_limit, Some(RateLimit { interval: Duration::from_secs(1), burst: 20 }));
        assert_eq!(config.files().count(), 3);
    }

    #[test]
    fn what_is_not_said_is_not_there() {
        for text in ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users:\n", "---\n"] {
            let config = parse(text).expect(text);
            assert!(config.tls.is_none() && config.users.is_empty() && config.headers.is_empty(), "{text}");
            assert!(config.rate_limit.is_none(), "{text}");
        }
        let text = "tls_server_config: {cert: '-----BEGIN', key: secret}";
        let tls = parse(text).expect("it is right").tls.expect("it has TLS");
        assert_eq!((tls.min_version, tls.max_version), (Version::Tls12, Version::Tls13));
        assert!(tls.client_auth.is_none() && tls.prefers_own_order);
        assert!(!format!("{tls:?}").contains("secret"), "{tls:?}");
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line_without_secrets() {
        for (text, named) in [
            ("tls_config:\n  cert_file: a\n", "tls_config"),
            ("tls_server_config: {cert_file: a, key_file: b, ocsp: c}", "ocsp"),
            ("tls_server_config: {cert_file: a}", "tls_server_config.key_file"),
            ("tls_server_config: {key_file: a}", "tls_server_config.cert_file"),
            ("tls_server_config: {min_version: TLS12}", "tls_server_config.cert_file"),
            ("tls_server_config: {cert: x, cert_file: a, key_file: b}", "tls_server_config.cert:"),
            ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "min_version"),
            (
                "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}",
                "min_version",
            ),
            ("tls_server_config: {cert_file: a, key_file: b, max_version: SSL3}", "max_version"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequestClientCert}",
                "client_auth_type",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
                "client_ca_file",
            ),
            ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "client_auth_type"),
            ("tls_server_config: {cert_file: a, key_file: b, client_allowed_sans: [c]}", "client_auth_type"),
            (
                "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]}",
                "TLS_RSA_WITH_AES_128_CBC_SHA",
            ),
            ("tls_server_config: {cert_file: a, key_file: b, curve_preferences: [CurveP521]}", "CurveP521"),
            ("http_server_config: {http2: true}", "http2"),
            ("http_server_config: {headers: {Server: x}}", "headers.Server"),
            ("http_server_config: {headers: {X-Frame-Options: allow}}", "X-Frame-Options"),
            ("http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}", "X-XSS-Protection"),
            ("basic_auth_users: {john: secret}", "basic_auth_users.john"),
            ("basic_auth_users: {'jo:hn': x}", "colon"),
            ("basic_auth_users: [secret]", "line 1"),
            ("rate_limit: {interval: 1s}", "rate_limit.burst"),
            ("rate_limit: {interval: soon, burst: 1}", "rate_limit.interval"),
            ("basic_auth_users: {a: x}\nbasic_auth_users: {a: x}\n", "basic_auth_users"),
            ("junk\njunk\n", "junk"),
            ("a: [", ""),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(named) || named == "junk", "{text}: {message}");
            assert!(message.lines().count() == 1 && !message.contains("secret"), "{text}: {message}");
        }
        let expensive = HASH.replace("$12$", "$19$");
        let message =
            parse(&format!("basic_auth_users: {{john: '{expensive}'}}")).expect_err("too expensive");
        assert!(message.contains("john") && message.contains("19"), "{message}");
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("0", 0.0),
            ("1s", 1.0),
            ("0s", 0.0),
            ("1.5h", 5400.0),
            ("1m30s", 90.0),
            ("250ms", 0.25),
            ("1µs", 1e-6),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "1", "s", "-1s", "1d", "1 s", ".s", "1..2s", "999999h", "1s2", "s1"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = (parse(&text), duration(&text));
        }

        #[test]
        fn anything_in_its_shape_is_read_or_refused(
            section in "tls_server_config|http_server_config|basic_auth_users|rate_limit",
            key in "cert|key_file|min_version|http2|headers|interval|burst|[a-z:]{1,8}",
            value in "[-\\[\\]{}&*!|>'\"%@`a-zA-Z0-9$:., #\n\t]{0,60}",
        ) {
            let _ = parse(&format!("{section}:\n  {key}: {value}\n"));
        }
    }
}
