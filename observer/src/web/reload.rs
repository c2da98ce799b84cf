//! The file of `--web-config` and those that it names: read at the start, and again when they change.
//!
//! They are looked at once a second. What changed is read once it has stayed the same for a look: files are often
//! written in place, one after the other. What cannot be used leaves everything as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig;

use super::tls::Tls;
use super::web_config::WebConfig;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What the file says, with the files that it names.
#[derive(Debug)]
pub struct Loaded {
    pub(super) config: WebConfig,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Loaded {
    /// Whether TLS is spoken.
    pub const fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// What tells one state of a file from another; `None` where there is no file.
type Stamp = Option<[i64; 7]>;

/// The file, and how it and those it names were when they were read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    read: BTreeMap<PathBuf, Stamp>,
}

impl Source {
    /// Reads the file for the first time. An error is one line.
    pub fn open(path: &Path) -> Result<(Self, Loaded), String> {
        let mut source = Self { path: path.to_owned(), read: BTreeMap::new() };
        let loaded = source.load()?;
        Ok((source, loaded))
    }

    fn load(&mut self) -> Result<Loaded, String> {
        // Looked at before they are read: a change in between is found at the next look.
        self.look();
        let own = stamp(&self.path);
        let told = |problem: String| format!("{}: {problem}", self.path.display());
        let text =
            fs::read_to_string(&self.path).map_err(|error| told(format!("cannot be read: {error}")))?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let config = WebConfig::parse(&text, directory).map_err(told)?;
        self.read = config.files().map(|path| (path.to_owned(), stamp(path))).collect();
        self.read.insert(self.path.clone(), own);
        let tls = config.tls.as_ref().map(Tls::load).transpose();
        let tls = tls.map_err(|problem| format!("{}: {problem}", self.path.display()))?;
        Ok(Loaded { config, tls })
    }

    /// Notes how the files are now.
    fn look(&mut self) {
        self.read.entry(self.path.clone()).or_default();
        for (path, read) in &mut self.read {
            *read = stamp(path);
        }
    }

    fn now(&self) -> Vec<Stamp> {
        self.read.keys().map(|path| stamp(path)).collect()
    }

    /// Waits until the files have changed, and reads them. Neither holds up the thread that serves.
    pub(super) async fn changed(self) -> (Self, Result<Loaded, String>) {
        let mut source = self;
        let mut before: Vec<Stamp> = source.read.values().copied().collect();
        let mut is_settled = true;
        loop {
            tokio::time::sleep(EVERY).await;
            let looked = tokio::task::spawn_blocking(move || {
                let now = source.now();
                let has_changed = now != before;
                let loaded = (!has_changed && !is_settled).then(|| source.load());
                (source, now, has_changed, loaded)
            });
            // It can neither be cancelled nor panic, but for a bug: then there are no more changes.
            let Ok((same, now, has_changed, loaded)) = looked.await else {
                return std::future::pending().await;
            };
            source = same;
            if let Some(loaded) = loaded {
                return (source, loaded);
            }
            // Back to what was read is a change as well.
            is_settled &= !has_changed;
            before = now;
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = fs::metadata(path).ok()?;
    let [device, inode, size] = [about.dev(), about.ino(), about.size()].map(u64::cast_signed);
    Some([device, inode, size, about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()])
}

/// Whether one may take the place of the other while the agent runs. An empty file is right: one that is about to
/// be written must not open the agent to everybody.
pub(super) fn may_follow(old: &WebConfig, new: &WebConfig) -> Result<(), String> {
    match (&old.tls, &new.tls) {
        (Some(_), None) => return Err("it switches TLS off, which takes a restart".into()),
        (None, Some(_)) => return Err("it switches TLS on, which takes a restart".into()),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if new.users.is_empty() && !old.users.is_empty() {
        return Err("it switches authentication off, which takes a restart".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$12$1DpfPeqF9HzHJt.EWswy1exHluGfbhnn3yXhR7Xes6m3WJqFg0Wby";

    #[test]
    fn protection_is_not_taken_away_by_a_change() {
        let parse = |text: &str| WebConfig::parse(text, Path::new("/")).expect(text);
        let [nothing, users, more, tls] = [
            String::new(),
            format!("basic_auth_users: {{a: {HASH}}}"),
            format!("basic_auth_users: {{a: {HASH}, b: {HASH}}}"),
            "tls_server_config: {cert_file: a, key_file: b}".to_owned(),
        ]
        .map(|text| parse(&text));
        for (old, new, allowed) in [
            (&nothing, &users, true),
            (&users, &more, true),
            (&more, &users, true),
            (&users, &nothing, false),
            (&tls, &nothing, false),
            (&nothing, &tls, false),
            (&nothing, &nothing, true),
        ] {
            assert_eq!(may_follow(old, new).is_ok(), allowed, "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_change_is_read_once_it_has_settled_and_what_is_missing_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        fs::write(&path, "").expect("it can be written");
        let (source, loaded) = Source::open(&path).expect("it is right");
        assert!(loaded.config.users.is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let unchanged = tokio::time::timeout(EVERY * 5 / 2, Box::pin(source.changed())).await;
            assert!(unchanged.is_err());
            let (source, _) = Source::open(&path).expect("it is right");
            fs::write(&path, "tls_server_config: {cert_file: a, key_file: b}").expect("it can be written");
            let (source, loaded) = source.changed().await;
            let problem = loaded.expect_err("there is no such file");
            assert!(problem.contains("cert_file") && problem.contains("web.yml"), "{problem}");
            // A file that it names comes to be.
            fs::write(folder.path().join("a"), "no certificate").expect("it can be written");
            let (_, loaded) = source.changed().await;
            assert!(loaded.expect_err("it is none").contains("no certificate"));
        });
    }
}
