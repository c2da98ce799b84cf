//! What the tests of a file say they need, which decides what may run beside them.
//!
//! An agent's programs see the traffic of the whole host. So a test can be disturbed by what another one does, and says
//! so in a comment of its own file:
//!
//! ```text
//! // needs: redis          no other test may have to do with it meanwhile
//! // makes: messages       not beside a test that needs them for itself
//! // takes: 190 s          roughly, on two processors: what takes long starts first
//! // at once: 3 tests       that wait most of their time; without it, one after the other
//! ```
//!
//! Above a file's code they are about all of its tests, and above `mod name {` about those in that module. What may
//! be named is in [`Resource`]; a file that needs nothing says `// needs: nothing`. One that says nothing at all is run
//! when nothing else is.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use anyhow::{Context as _, Result, bail, ensure};

/// What tests can be in each other's way with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    /// All of the host: its processors, its memory, and all traffic.
    Host,
    /// Postgres streams: what the agent could not follow of them is counted for all together.
    Postgres,
    /// Redis streams, as those; and prefixes of keys, of which there are only so many.
    Redis,
    /// WebSocket streams, as those.
    Websocket,
    /// WebSocket messages, of which the host's rate is made.
    Messages,
}

impl Resource {
    /// None for `nothing`.
    fn named(name: &str) -> Result<Option<Self>> {
        Ok(Some(match name {
            "nothing" => return Ok(None),
            "host" => Self::Host,
            "postgres" => Self::Postgres,
            "redis" => Self::Redis,
            "websocket" => Self::Websocket,
            "messages" => Self::Messages,
            _ => bail!("`{name}` is none of host, postgres, redis, websocket, messages and nothing"),
        }))
    }
}

/// What some tests need.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Needs {
    /// What they need for themselves.
    alone: BTreeSet<Resource>,
    /// What they disturb those with that need it.
    makes: BTreeSet<Resource>,
    /// How many seconds they take.
    pub(super) seconds: u32,
    /// How many of them may run at a time.
    pub(super) at_once: NonZeroUsize,
}

impl Default for Needs {
    fn default() -> Self {
        Self { alone: BTreeSet::new(), makes: BTreeSet::new(), seconds: 0, at_once: NonZeroUsize::MIN }
    }
}

impl Needs {
    /// Those of tests of which nothing is known.
    pub(super) fn host() -> Self {
        Self { alone: [Resource::Host].into(), ..Self::default() }
    }

    /// Whether nothing else may run meanwhile.
    pub(super) fn is_host(&self) -> bool {
        self.alone.contains(&Resource::Host)
    }

    /// Whether they make what others need for themselves.
    pub(super) fn disturbs(&self, other: &Self) -> bool {
        !self.makes.is_disjoint(&other.alone)
    }

    /// Whether tests would be in each other's way.
    pub(super) fn conflict(&self, other: &Self) -> bool {
        let both_need = !self.alone.is_disjoint(&other.alone);
        self.is_host() || other.is_host() || both_need || self.disturbs(other) || other.disturbs(self)
    }

    /// Takes in a line of a file; false if it is none of these.
    fn read(&mut self, line: &str) -> Result<bool> {
        let Some((key, value)) = line.strip_prefix("// ").and_then(|comment| comment.split_once(": ")) else {
            return Ok(false);
        };
        let named = || {
            value.split(", ").map(Resource::named).filter_map(Result::transpose).collect::<Result<Vec<_>>>()
        };
        match key {
            "needs" => self.alone.extend(named()?),
            "makes" => self.makes.extend(named()?),
            "takes" => {
                let seconds = value.strip_suffix(" s").and_then(|seconds| seconds.parse().ok());
                self.seconds = seconds.with_context(|| format!("`{value}` is no number of seconds"))?;
            }
            "at once" => {
                let tests = value.strip_suffix(" tests").and_then(|tests| tests.parse().ok());
                self.at_once = tests.with_context(|| format!("`{value}` is no number of tests"))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Tests of one file that need the same.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    /// The module that they are in; none for all that are in no module which needs something of its own.
    pub(super) module: Option<String>,
    /// What they need.
    pub(super) needs: Needs,
}

/// Reads what the tests of a file need. The first part is the file itself.
pub(super) fn parts(text: &str) -> Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    // What has been read since the last line of code.
    let mut told: Option<Needs> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let mut needs = told.clone().unwrap_or_default();
        if needs.read(line).with_context(|| format!("line {number}"))? {
            told = Some(needs);
            continue;
        }
        if line.is_empty() || line.starts_with("//") || line.starts_with('#') {
            continue;
        }
        if parts.is_empty() {
            parts.push(Part { module: None, needs: told.take().unwrap_or_else(Needs::host) });
        } else if let Some(needs) = told.take() {
            let module = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {"));
            let module = module.with_context(|| format!("line {number} has needs, and is no module"))?;
            parts.push(Part { module: Some(module.to_owned()), needs });
        }
    }
    ensure!(told.is_none(), "there are needs at the end, of nothing");
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(lines: &[&str]) -> Result<Needs> {
        let mut needs = Needs::default();
        for line in lines {
            assert!(needs.read(line)?, "{line}");
        }
        Ok(needs)
    }

    #[test]
    fn what_is_needed_conflicts_with_what_is_made() -> Result<()> {
        let redis = needs(&["// needs: redis"])?;
        let messages = needs(&["// needs: messages"])?;
        let page = needs(&["// makes: messages, websocket"])?;
        let nothing = needs(&["// needs: nothing"])?;
        assert!(redis.conflict(&redis) && messages.conflict(&page) && page.conflict(&messages));
        assert!(!redis.conflict(&messages) && !page.conflict(&page) && !nothing.conflict(&redis));
        assert!(Needs::host().conflict(&nothing) && nothing.conflict(&Needs::host()));
        Ok(())
    }

    #[test]
    fn a_file_and_its_modules_have_needs_of_their_own() -> Result<()> {
        let text = "//! A file.\n\n// needs: websocket\n// makes: messages\n// takes: 12 s\n// at once: 3 tests\n\nuse std::fs;\n\
                    mod helpers {\n}\n\n/// Why.\n// needs: host\nmod alone {\n    // needs: what is told inside\n}\n";
        let file =
            needs(&["// needs: websocket", "// makes: messages", "// takes: 12 s", "// at once: 3 tests"])?;
        assert_eq!((file.seconds, file.at_once.get(), Needs::host().at_once.get()), (12, 3, 1));
        let expected = [
            Part { module: None, needs: file },
            Part { module: Some("alone".to_owned()), needs: Needs::host() },
        ];
        assert_eq!(parts(text)?, expected);
        Ok(())
    }

    #[test]
    fn who_says_nothing_is_alone() -> Result<()> {
        assert_eq!(parts("//! A file.\nuse std::fs;\n")?[0].needs, Needs::host());
        assert_eq!(parts("// needs: nothing\nuse std::fs;\n")?[0].needs, Needs::default());
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for text in [
            "// needs: quiet\nuse std::fs;\n",
            "// takes: long\nuse std::fs;\n",
            "// at once: 0 tests\nuse std::fs;\n",
            "use std::fs;\n// needs: redis\nfn one() {}\n",
            "use std::fs;\n// needs: redis\n",
        ] {
            assert!(parts(text).is_err(), "{text}");
        }
    }
}
