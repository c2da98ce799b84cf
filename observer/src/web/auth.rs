//! Basic authentication (RFC 7617) against hashes by bcrypt.
//!
//! bcrypt is slow on purpose, and strangers may ask for it. So one password is looked at a time, off the thread that
//! serves; after a wrong one the next waits some time, so that guessing takes at most a fifth of one processor; few
//! may wait, of one address one. A password that was right is remembered, as a tag that only this process can make:
//! whoever scrapes is not slowed by those who guess.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Passwords that may wait to be looked at, at once.
const WAITING: usize = 8;
/// How many times as long as a wrong password took the next one waits, and how long at most.
const PAUSE: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who may ask.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// What an unknown user's password is compared with: as expensive as others', and equal to none's.
    stand_in: String,
}

impl Users {
    /// Users' hashes by their names, which have been found to be hashes.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Self {
        let cost = |hash: &String| hash.parse().map(|parts: HashParts| parts.get_cost()).unwrap_or_default();
        let cost = hashes.values().map(cost).max().unwrap_or(10);
        let stand_in = format!("$2b${cost:02}${}", ".".repeat(53));
        Self { hashes, stand_in }
    }

    /// Whether nobody needs to be one.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// What comes of a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are a user's.
    Known,
    /// They are nobody's, or not there.
    Unknown,
    /// Too many wait to have theirs looked at.
    Busy,
}

/// Looks at passwords, and remembers those that were right.
#[derive(Debug)]
pub(super) struct Gate {
    /// What the tags are made with. Another process has another.
    key: hmac::Key,
    /// By user: the hash that the password was right for, and the password's tag.
    right: RefCell<HashMap<String, (String, hmac::Tag)>>,
    waiting: Rc<RefCell<Vec<IpAddr>>>,
    /// Held by the request whose password is compared: one is at a time.
    comparing: Arc<Mutex<()>>,
}

impl Gate {
    /// Fails if the system has no random numbers.
    pub(super) fn new() -> std::io::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| std::io::Error::other("no random numbers"))?;
        Ok(Self { key, right: RefCell::default(), waiting: Rc::default(), comparing: Arc::default() })
    }

    /// Looks at a request's credentials.
    pub(super) async fn check(&self, users: &Users, peer: IpAddr, headers: &HeaderMap) -> Verdict {
        let Some((user, password)) = credentials(headers) else { return Verdict::Unknown };
        let known = std::str::from_utf8(&user).ok().and_then(|name| users.hashes.get_key_value(name));
        if let Some((name, hash)) = known
            && self.remembers(name, hash, &password)
        {
            return Verdict::Known;
        }
        let Some(place) = Place::take(&self.waiting, network(peer)) else { return Verdict::Busy };
        let guard = Arc::clone(&self.comparing).lock_owned().await;
        drop(place);
        // Another request of the same user may have been first.
        if let Some((name, hash)) = known
            && self.remembers(name, hash, &password)
        {
            return Verdict::Known;
        }
        let hash = known.map_or(&users.stand_in, |(_, hash)| hash).clone();
        let is_right = compare(guard, hash, password.clone()).await;
        match known {
            Some((name, hash)) if is_right => {
                let tag = hmac::sign(&self.key, &password);
                self.right.borrow_mut().insert(name.clone(), (hash.clone(), tag));
                Verdict::Known
            }
            _ => Verdict::Unknown,
        }
    }

    fn remembers(&self, name: &str, hash: &str, password: &[u8]) -> bool {
        let right = self.right.borrow();
        // Compares in constant time.
        let is_tag = |tag: &hmac::Tag| hmac::verify(&self.key, password, tag.as_ref()).is_ok();
        right.get(name).is_some_and(|(of, tag)| of == hash && is_tag(tag))
    }

    /// Forgets the passwords of those who are no users any more.
    pub(super) fn forget_all_but(&self, users: &Users) {
        self.right.borrow_mut().retain(|name, (hash, _)| users.hashes.get(name) == Some(hash));
    }
}

/// Compares a password with a hash. The guard is held during the work and the pause after it, even if the client goes
/// meanwhile.
async fn compare(guard: OwnedMutexGuard<()>, hash: String, password: Vec<u8>) -> bool {
    let work = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        // Compares in constant time.
        let is_right = bcrypt::verify(&password, &hash).unwrap_or(false);
        (is_right, start.elapsed())
    });
    let (answer, answered) = tokio::sync::oneshot::channel();
    tokio::task::spawn_local(async move {
        let guard = guard;
        let Ok((is_right, took)) = work.await else { return };
        // A client that has left wants no answer.
        let _ = answer.send(is_right);
        if !is_right {
            tokio::time::sleep((took * PAUSE).min(LONGEST_PAUSE)).await;
        }
        drop(guard);
    });
    answered.await.unwrap_or(false)
}

/// A place among those that wait.
struct Place {
    waiting: Rc<RefCell<Vec<IpAddr>>>,
    network: IpAddr,
}

impl Place {
    fn take(waiting: &Rc<RefCell<Vec<IpAddr>>>, network: IpAddr) -> Option<Self> {
        let mut all = waiting.borrow_mut();
        if all.len() == WAITING || all.contains(&network) {
            return None;
        }
        all.push(network);
        Some(Self { waiting: Rc::clone(waiting), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.waiting.borrow_mut();
        if let Some(at) = all.iter().position(|&other| other == self.network) {
            all.swap_remove(at);
        }
    }
}

/// What one client has to itself: an address, or the first 64 bits of it for IPv6 (RFC 4291, section 2.5.4).
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        four @ IpAddr::V4(_) => four,
    }
}

/// The user and the password of a request.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// `alice123` and its hash, from the toolkit's own tests, and one of its other users.
    const ALICE: &str = "$2y$12$1DpfPeqF9HzHJt.EWswy1exHluGfbhnn3yXhR7Xes6m3WJqFg0Wby";
    const CAROL: &str = "$2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu";

    fn users(pairs: &[(&str, &str)]) -> Users {
        Users::new(pairs.iter().map(|&(name, hash)| (name.to_owned(), hash.to_owned())).collect())
    }

    fn basic(user: &str, password: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(&value).expect("a value"))])
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, work)
    }

    #[test]
    fn only_a_users_own_password_lets_in() {
        let users = users(&[("alice", ALICE), ("carol", CAROL)]);
        let gate = Gate::new().expect("random numbers");
        run(async {
            for (user, password, expected) in [
                ("alice", "alice123", Verdict::Known),
                ("alice", "alice1234", Verdict::Unknown),
                ("alice", "", Verdict::Unknown),
                ("carol", "alice123", Verdict::Unknown),
                ("bob", "alice123", Verdict::Unknown),
                // What the toolkit's own stand-in is the hash of, and what its cache once took for a password.
                ("bob", "fakepassword", Verdict::Unknown),
                ("alice", ALICE, Verdict::Unknown),
                ("alice", "alice123", Verdict::Known),
            ] {
                assert_eq!(
                    gate.check(&users, address(1), &basic(user, password)).await,
                    expected,
                    "{user} {password}"
                );
            }
            assert_eq!(gate.check(&users, address(1), &HeaderMap::new()).await, Verdict::Unknown);
        });
    }

    #[test]
    fn who_was_right_is_not_slowed_by_who_guesses() {
        let all = users(&[("alice", ALICE)]);
        let gate = Rc::new(Gate::new().expect("random numbers"));
        run(async {
            let right = basic("alice", "alice123");
            assert_eq!(gate.check(&all, address(1), &right).await, Verdict::Known);
            // Others come from many addresses, all at once; one address twice.
            let guesses: Vec<_> = [2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
                .map(|last| {
                    let gate = Rc::clone(&gate);
                    tokio::task::spawn_local(async move {
                        let all = users(&[("alice", ALICE)]);
                        gate.check(&all, address(last), &basic("alice", "guess")).await
                    })
                })
                .into();
            tokio::task::yield_now().await;
            let start = Instant::now();
            assert_eq!(gate.check(&all, address(1), &right).await, Verdict::Known);
            assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
            let is_busy = guesses.iter().filter(|guess| guess.is_finished()).count();
            // One is looked at, and eight wait.
            assert!(is_busy >= 13 - 9, "{is_busy}");
            for guess in guesses {
                guess.abort();
                let _ = guess.await;
            }
            assert!(gate.waiting.borrow().is_empty());
            // Another hash for the user, and what was right is so no longer.
            let others = users(&[("alice", CAROL)]);
            gate.forget_all_but(&others);
            assert!(gate.right.borrow().is_empty());
            assert_eq!(gate.check(&others, address(1), &right).await, Verdict::Unknown);
        });
    }

    #[test]
    fn a_name_that_is_unknown_costs_as_much_as_one_that_is_not() {
        let users = users(&[("alice", ALICE), ("carol", CAROL)]);
        let time = |hash: &str| {
            let start = Instant::now();
            assert!(!bcrypt::verify("guess", hash).expect("it is a hash"));
            start.elapsed().as_secs_f64()
        };
        let least = |hash: &str| (0..3).map(|_| time(hash)).fold(f64::MAX, f64::min);
        let (known, unknown) = (least(ALICE), least(&users.stand_in));
        assert!((0.5..2.0).contains(&(unknown / known)), "{unknown} s and {known} s");
    }

    #[test]
    fn headers_of_any_kind_are_read_or_not() {
        for (value, expected) in [
            ("Basic bWU6c2VjcmV0", Some(("me", "secret"))),
            ("bAsIc   bWU6c2U6Y3JldA== ", Some(("me", "se:cret"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic bWU=", None),
            ("Basic ???", None),
            ("Basic", None),
            ("Basic ", None),
            ("Bearer bWU6c2VjcmV0", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            let expected =
                expected.map(|(user, password)| (user.as_bytes().to_vec(), password.as_bytes().to_vec()));
            assert_eq!(credentials(&headers), expected, "{value}");
        }
    }
}
