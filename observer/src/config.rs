//! Settings of `observer run`: flags over a TOML file over defaults.

mod values;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::stream::prefix::SEGMENTS_MAX;
use serde::Deserialize;

use self::values::default_ports;
pub use self::values::{Oversized, ProtocolPorts, Reading, Segments, Separator};
use crate::address::Hints;
use crate::ledger::Limits;
use crate::ledger::lives::Retention;
use crate::metrics::family::SECOND_NS;
use crate::names::templates::{Template, Tree};
use crate::protocols::redis::ask::Server;
use crate::queues::Pattern;

/// Where HTTP is served, and an agent looked for, if nothing else is said.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9941);

/// The most prefixes of Redis keys that may be told apart: each is a series for each process and server.
const MAX_PREFIXES: i64 = 10_000;

/// The most routes of HTTP that may be told apart for each process and server.
const MAX_ROUTES: i64 = 10_000;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `run`. Each is also a key of the file that `--config` names, without the dashes in front.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Flags {
    /// A TOML file with any of these settings; a flag wins over it.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where to serve metrics over HTTP; may be given several times [default: 127.0.0.1:9941]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<SocketAddr>,
    /// A file that sets TLS and users, in the format of Prometheus's exporter toolkit
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// The format of the log, which goes to stderr [default: text]
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<LogFormat>,
    /// The least level that is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    #[serde(with = "as_text", default)]
    pub log_level: Option<log::LevelFilter>,
    /// Sizes from which a message is oversized [default: medium=1000000,large=5000000,huge=10000000]
    #[arg(long, value_name = "medium=BYTES,large=BYTES,huge=BYTES")]
    #[serde(with = "as_text", default)]
    pub oversized: Option<Oversized>,
    /// Connections tracked at once; more are counted as untracked. Takes 1.3 kB of kernel memory for each [default: 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_connections: Option<u32>,
    /// Series of each metric family; past that the longest unused go first, and those in use are added up under
    /// process="other" [default: 1000]
    #[arg(long, value_name = "N")]
    pub max_series: Option<usize>,
    /// Seconds that the rows of a name stay after its last process has ended, and go on counting if another one comes
    /// [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub series_retention: Option<u64>,
    /// The busiest flows, exported as series; 0 for none [default: 20]
    #[arg(long, value_name = "N")]
    pub flow_series: Option<usize>,
    /// Messages a minute above which a connection counts as high-rate [default: 100]
    #[arg(long, value_name = "N")]
    pub message_rate_limit: Option<u64>,
    /// Messages a second on the node above which they count as a spike [default: 10000]
    #[arg(long, value_name = "N")]
    pub spike_threshold: Option<u64>,
    /// The character that ends a segment of a Redis or memcached key, in ASCII [default: :]
    #[arg(long, value_name = "CHAR")]
    #[serde(with = "as_text", default)]
    pub redis_prefix_separator: Option<Separator>,
    /// Segments that make a key's prefix, at most 4; leading ones that are empty, digits only or in braces are stepped
    /// over [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SEGMENTS_MAX)))]
    pub redis_prefix_segments: Option<u32>,
    /// Leading segments of keys that are stepped over as well, at most 64 [default: none]
    #[arg(long, value_name = "SEGMENT,…")]
    #[serde(with = "as_text", default)]
    pub redis_prefix_skip: Option<Segments>,
    /// Prefixes of Redis keys that are counted apart, at most 10000; keys with others count as "other" [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_PREFIXES))]
    pub redis_max_prefixes: Option<u32>,
    /// A Redis server to ask for its memory and evictions, `redis://[[USER]:PASSWORD@]HOST[:PORT]` or the path of a
    /// UNIX socket; may be given several times. Everybody on the host can see flags: put a password into the file
    #[arg(long, value_name = "URL")]
    pub redis_info: Vec<String>,
    /// Routes of HTTP that are counted apart for each process and server, at most 10000; requests of others count as
    /// "other" [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_ROUTES))]
    pub http_max_routes: Option<u32>,
    /// A template of routes of HTTP, such as /users/{name}, which comes before what the agent makes of a path; may be given
    /// several times
    #[arg(long, value_name = "TEMPLATE")]
    pub http_routes: Vec<String>,
    /// Seconds after which an open response of HTTP without length is a stream, and no slow request [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub http_stream_after: Option<u64>,
    /// Patterns of keys, with * and ?, of lists of Redis that are queues even before anything has been taken out of them;
    /// may be given several times [default: none]
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',')]
    pub queues: Vec<String>,
    /// Read what TLS libraries (OpenSSL and others with its functions, and GNU TLS) encrypt and decrypt: never, in those that
    /// processes have mapped when the agent starts, or in what comes later, too, by a second process that keeps the
    /// privileges for it [default: off]
    #[arg(long, value_name = "off|start|follow")]
    pub tls: Option<Reading>,
    /// The protocol of a port, for connections that were open before the agent [default: postgres=5432,redis=6379]
    #[arg(long, value_name = "PROTOCOL=PORT,…")]
    #[serde(with = "as_text", default)]
    pub protocol_ports: Option<ProtocolPorts>,
}

/// A key of the file whose value is text, read as the flag's is.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

/// What `run` runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served; at least one.
    pub listen: Vec<SocketAddr>,
    /// The file that says how HTTP is served, if there is one.
    pub web_config: Option<PathBuf>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: log::LevelFilter,
    /// When a message is oversized.
    pub thresholds: Thresholds,
    /// Connections tracked at once.
    pub max_connections: u32,
    /// Series of a metric family.
    pub max_series: usize,
    /// What is kept of processes that have ended.
    pub retention: Retention,
    /// Flows exported as series.
    pub flow_series: usize,
    /// What ends a segment of a key.
    pub redis_separator: u8,
    /// Segments of a key that make its prefix.
    pub redis_prefix_segments: u32,
    /// Leading ones that are stepped over.
    pub redis_prefix_skip: Segments,
    /// Prefixes of Redis keys told apart.
    pub redis_max_prefixes: u32,
    /// Routes of HTTP told apart for each process and server.
    pub http_max_routes: u32,
    /// How long a response of HTTP without length takes at least to be a stream, in nanoseconds.
    pub http_stream_after_ns: u64,
    /// Routes that come first.
    pub http_routes: Tree,
    /// Redis servers to ask for their memory and evictions.
    pub redis_info: Vec<Server>,
    /// Names of lists that are queues in any case.
    pub queues: Vec<Pattern>,
    /// Which TLS libraries are read.
    pub tls: Reading,
    /// What is spoken on a port.
    pub protocol_ports: Hints,
    /// When a user is one of a high rate, and when the node has a spike.
    pub limits: Limits,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file does not say what it should.
    #[error("the configuration {path} is wrong: {message}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where and why, in one line.
        message: String,
    },
    /// A server to ask that is none.
    #[error("--redis-info, number {number}: {message}")]
    RedisInfo {
        /// Which one, from 1 on: its text may hold a password.
        number: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A template of routes that is none.
    #[error("--http-routes: {0}")]
    HttpRoutes(String),
    /// A pattern of queues that is none.
    #[error("--queues: {0}")]
    Queues(String),
}

impl Config {
    /// Resolves flags, and the file they name.
    pub fn resolve(flags: Flags) -> Result<Self, Error> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let listen = [flags.listen, file.listen].into_iter().find(|addresses| !addresses.is_empty());
        let redis_info = [flags.redis_info, file.redis_info].into_iter().find(|urls| !urls.is_empty());
        let http_routes = [flags.http_routes, file.http_routes].into_iter().find(|all| !all.is_empty());
        let queues = [flags.queues, file.queues].into_iter().find(|all| !all.is_empty());
        let hints = || Hints(default_ports().collect());
        let max_series = flags.max_series.or(file.max_series).unwrap_or(1_000);
        let seconds = flags.series_retention.or(file.series_retention).unwrap_or(3_600);
        Ok(Self {
            listen: listen.unwrap_or_else(|| vec![DEFAULT_LISTEN]),
            web_config: flags.web_config.or(file.web_config),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            log_level: flags.log_level.or(file.log_level).unwrap_or(log::LevelFilter::Info),
            thresholds: flags
                .oversized
                .or(file.oversized)
                .map_or(Thresholds::DEFAULT, |oversized| oversized.0),
            max_connections: flags.max_connections.or(file.max_connections).unwrap_or(65_536),
            max_series,
            // As many as are shown at most, if each has one row of a family.
            retention: Retention { names_ns: seconds.saturating_mul(SECOND_NS), unused: max_series },
            flow_series: flags.flow_series.or(file.flow_series).unwrap_or(20),
            redis_separator: flags
                .redis_prefix_separator
                .or(file.redis_prefix_separator)
                .map_or(b':', |separator| separator.0),
            redis_prefix_segments: flags.redis_prefix_segments.or(file.redis_prefix_segments).unwrap_or(1),
            redis_prefix_skip: flags.redis_prefix_skip.or(file.redis_prefix_skip).unwrap_or_default(),
            redis_max_prefixes: flags.redis_max_prefixes.or(file.redis_max_prefixes).unwrap_or(100),
            http_max_routes: flags.http_max_routes.or(file.http_max_routes).unwrap_or(200),
            http_stream_after_ns: flags
                .http_stream_after
                .or(file.http_stream_after)
                .unwrap_or(10)
                .saturating_mul(SECOND_NS),
            http_routes: routes(&http_routes.unwrap_or_default())?,
            queues: patterns(&queues.unwrap_or_default())?,
            tls: flags.tls.or(file.tls).unwrap_or_default(),
            redis_info: servers(&redis_info.unwrap_or_default())?,
            protocol_ports: flags.protocol_ports.or(file.protocol_ports).map_or_else(hints, |ports| ports.0),
            limits: Limits {
                messages_per_minute: flags.message_rate_limit.or(file.message_rate_limit).unwrap_or(100),
                messages_per_second: flags.spike_threshold.or(file.spike_threshold).unwrap_or(10_000),
            },
        })
    }

    /// What is spoken on a port.
    pub fn hints(&self) -> Hints {
        self.protocol_ports.clone()
    }
}

/// The routes that templates are of.
fn routes(texts: &[String]) -> Result<Tree, Error> {
    let templates: Result<Vec<Template>, String> = texts.iter().map(|text| text.parse()).collect();
    Tree::of(&templates.map_err(Error::HttpRoutes)?)
        .ok_or_else(|| Error::HttpRoutes("there are too many of them".to_owned()))
}

/// The patterns of queues.
fn patterns(texts: &[String]) -> Result<Vec<Pattern>, Error> {
    texts.iter().map(|text| text.parse().map_err(Error::Queues)).collect()
}

/// The servers to ask. Each is named once: what is known of it has its name for a label.
fn servers(urls: &[String]) -> Result<Vec<Server>, Error> {
    let mut servers: Vec<Server> = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        let wrong = |message| Error::RedisInfo { number: index + 1, message };
        let server: Server = url.parse().map_err(wrong)?;
        if servers.iter().any(|other| other.name() == server.name()) {
            return Err(wrong(format!("{} is given twice", server.name())));
        }
        servers.push(server);
    }
    Ok(servers)
}

fn read(path: &Path) -> Result<Flags, Error> {
    let text =
        fs::read_to_string(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    let wrong = |message: String| Error::Wrong { path: path.to_owned(), message };
    let file: Flags = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        wrong(format!("line {line}: {}", error.message().replace('\n', " ")))
    })?;
    if file.max_connections.is_some_and(|count| !(1..=4_194_304).contains(&count)) {
        return Err(wrong("max-connections is not in 1..=4194304".to_owned()));
    }
    if file.redis_max_prefixes.is_some_and(|count| !(1..=MAX_PREFIXES).contains(&i64::from(count))) {
        return Err(wrong(format!("redis-max-prefixes is not in 1..={MAX_PREFIXES}")));
    }
    if file.http_max_routes.is_some_and(|count| !(1..=MAX_ROUTES).contains(&i64::from(count))) {
        return Err(wrong(format!("http-max-routes is not in 1..={MAX_ROUTES}")));
    }
    if file.redis_prefix_segments.is_some_and(|count| !(1..=SEGMENTS_MAX).contains(&count)) {
        return Err(wrong(format!("redis-prefix-segments is not in 1..={SEGMENTS_MAX}")));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{Config, Error, Flags, Oversized, ProtocolPorts};
    use crate::ledger::Limits;
    use crate::ledger::lives::Retention;
    use observer_ebpf::layout::control::Thresholds;
    use std::io::Write as _;

    fn from_file(text: &str, flags: Flags) -> Result<Config, Error> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        file.write_all(text.as_bytes()).expect("a temporary file can be written");
        Config::resolve(Flags { config: Some(file.path().to_owned()), ..flags })
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "listen = ['127.0.0.1:1', '[::1]:2']\nmax-series = 7\nlog-level = 'debug'\n\
            oversized = 'medium=1,large=2,huge=3'\nprotocol-ports = 'redis=1'\n\
            message-rate-limit = 7\nspike-threshold = 9\nseries-retention = 60\n";
        let flags = Flags { max_series: Some(8), spike_threshold: Some(10), ..Flags::default() };
        let config = from_file(text, flags).expect("it is right");
        assert_eq!(config.max_series, 8);
        assert_eq!(config.retention, Retention { names_ns: 60_000_000_000, unused: 8 });
        assert_eq!(config.limits, Limits { messages_per_minute: 7, messages_per_second: 10 });
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.log_level, log::LevelFilter::Debug);
        assert_eq!(config.thresholds, Thresholds { medium: 1, large: 2, huge: 3 });
        assert_eq!(config.max_connections, 65_536);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error =
            from_file("max-series = 7\nmax-serious = 8\n", Flags::default()).expect_err("it is wrong");
        let message = error.to_string();
        assert!(message.contains("max-serious") && message.contains("line 2"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn thresholds_must_ascend() {
        assert!("medium=1,large=2,huge=3".parse::<Oversized>().is_ok());
        assert!("large=2000000".parse::<Oversized>().is_ok());
        for wrong in ["medium=3,large=2,huge=1", "medium=0", "medium", "tiny=1", "huge=x", "medium=5000000"] {
            assert!(wrong.parse::<Oversized>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn redis_settings_are_read_and_checked() {
        let text = "redis-prefix-separator = '/'\nredis-max-prefixes = 7\n\
            redis-prefix-segments = 2\nredis-prefix-skip = 'app,prod,app'\nredis-info = ['redis://:secret@localhost:6380', '/run/redis.sock']\n";
        let config = from_file(text, Flags::default()).expect("it is right");
        assert_eq!((config.redis_separator, config.redis_max_prefixes), (b'/', 7));
        assert_eq!((config.redis_prefix_segments, config.redis_prefix_skip.0.len()), (2, 2));
        let names: Vec<String> = config.redis_info.iter().map(super::Server::name).collect();
        assert_eq!(names, ["localhost:6380", "/run/redis.sock"]);
        let config = from_file("", Flags::default()).expect("it is right");
        assert_eq!((config.redis_separator, config.redis_max_prefixes), (b':', 100));
        assert_eq!((config.redis_prefix_segments, config.redis_prefix_skip.0.len()), (1, 0));
        for wrong in [
            "redis-prefix-separator = '::'",
            "redis-prefix-separator = 'é'",
            "redis-prefix-separator = ''",
            "redis-max-prefixes = 0",
            "redis-max-prefixes = 10001",
            "redis-prefix-segments = 0",
            "redis-prefix-segments = 5",
            "redis-prefix-skip = 'é'",
            "redis-prefix-skip = 'a,012345678901234567890123456789012'",
            "redis-info = ['secret']",
            "redis-info = ['redis://a:1', 'redis://:secret@a:1']",
        ] {
            let error = from_file(wrong, Flags::default()).expect_err(wrong).to_string();
            assert!(!error.contains("secret") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn queues_are_a_list_in_the_flag_and_in_the_file() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            flags: Flags,
        }
        let line = ["observer", "--queues", "celery,rq:*", "--queues", "jobs"];
        let flags = <Line as clap::Parser>::parse_from(line).flags;
        let config = Config::resolve(flags.clone()).expect("it is right");
        let matched = |config: &Config, name: &str| {
            config.queues.iter().any(|pattern| pattern.matches(name.as_bytes()))
        };
        assert_eq!(
            ["celery", "rq:a", "jobs", "job"].map(|name| matched(&config, name)),
            [true, true, true, false]
        );
        let config = from_file("queues = ['a?', 'b']", Flags::default()).expect("it is right");
        assert_eq!(["ax", "b", "celery"].map(|name| matched(&config, name)), [true, true, false]);
        assert!(!matched(&from_file("queues = ['a?', 'b']", flags).expect("it is right"), "ax"));
        let error = from_file("queues = ['']", Flags::default()).expect_err("it is wrong").to_string();
        assert!(error.contains("--queues"), "{error}");
    }

    #[test]
    fn ports_are_of_known_protocols() {
        assert!("postgres=5432,redis=6379,redis=6380".parse::<ProtocolPorts>().is_ok());
        for wrong in ["mysql=3306", "redis=0", "redis=70000", "redis"] {
            assert!(wrong.parse::<ProtocolPorts>().is_err(), "{wrong}");
        }
    }
}
