//! What names the kind of a cache key, as clients and frameworks write keys, and as settings say.

mod common;

use common::Observed;
use common::caches::{fresh, prefix, prefix_of};
use observer_ebpf::layout::Role;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn get(key: &[u8]) -> Vec<u8> {
    [format!("*2\r\n$3\r\nGET\r\n${}\r\n", key.len()).as_bytes(), key, b"\r\n"].concat()
}

fn session(segments: u32, skips: &[&'static str]) -> Observed {
    let mut session = fresh(Role::Client);
    session.keys.segments = segments;
    session.keys.skips = skips.to_vec();
    session
}

/// The prefix that a key counts under, in a session with these settings.
fn counted(key: &str, segments: u32, skips: &[&'static str]) -> String {
    let mut session = session(segments, skips);
    session.client(&get(key.as_bytes()));
    session.server(b"$1\r\nx\r\n");
    let keys = session.keys.by_prefix();
    assert_eq!(keys.len(), 1, "{key}");
    keys.into_keys().next().expect("one")
}

#[test]
fn keys_as_they_are_in_the_field() {
    for (key, expected) in [
        ("user:7", "user"),
        // Django's cache, without and with a KEY_PREFIX.
        (":1:user:7", "user"),
        (":1:plain", "plain"),
        ("app:1:user:7", "app"),
        // Hash tags of a cluster.
        ("{42}:cart", "cart"),
        ("{42}:cart:items", "cart"),
        ("{user:1000}:cart:7", "cart"),
        ("{123e4567-e89b-12d3-a456-426614174000}:cart:7", "cart"),
        ("{42}cart:7", "{42}cart"),
        ("{42:cart", "{42"),
        ("2024:11:report:7", "report"),
        ("::::a:b", "a"),
        ("{1}:{2}:{3}:{4}:a:b", "{4}"),
        ("plain", "none"),
        ("{42}", "none"),
        ("42", "none"),
        ("42:7", "other"),
        ("{42}:", "other"),
        (":1:", "other"),
    ] {
        assert_eq!(counted(key, 1, &[]), expected, "{key}");
        assert_eq!(prefix(key.as_bytes()), expected, "{key}");
    }
}

#[test]
fn settings_take_more_segments_and_step_over_named_ones() {
    for (key, segments, skips, expected) in [
        ("app:1:user:7", 1, &["app"][..], "user"),
        ("app:prod:1:user:7", 1, &["prod", "app"], "user"),
        ("prod:app:user:7", 1, &["prod", "app"], "user"),
        ("app:{42}:user:7", 1, &["app"], "user"),
        ("{42}:app:user:7", 1, &["app"], "user"),
        ("user:app:7", 1, &["app"], "user"),
        ("app", 1, &["app"], "none"),
        ("app:user", 1, &["app"], "user"),
        ("application:user", 1, &["app"], "application"),
        ("user:profile:7", 2, &[], "user:profile"),
        ("user:7", 2, &[], "user"),
        (":1:user:profile:7", 2, &[], "user:profile"),
        ("app:1:user:profile:7:x", 3, &["app"], "user:profile:7"),
        ("a:b:c:d:e:f", 4, &[], "a:b:c:d"),
        ("a:::d:e:f", 4, &[], "a:::d"),
        ("0123456789abcdef:x123456789abcdef:7", 2, &[], "other"),
        ("user:0123456789abcdef0123456789abcdef:7", 2, &[], "other"),
    ] {
        assert_eq!(counted(key, segments, skips), expected, "{key} {segments} {skips:?}");
        assert_eq!(
            prefix_of(key.as_bytes(), segments as usize, skips),
            expected,
            "{key} {segments} {skips:?}"
        );
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let segment = prop_oneof![
        select(vec![
            "", "1", "2024", "{42}", "{a:b}", "{}", "{", "}", "app", "prod", "user", "user", "cart", "x y"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
        (0..70usize).prop_map(|length| vec![b'k'; length]),
        (0..70usize).prop_map(|length| vec![b'7'; length]),
    ];
    vec(segment, 1..7).prop_map(|segments| segments.join(&b':'))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_key_counts_as_the_model_says_cut_anywhere(
        keys in vec(key(), 1..8),
        segments in 1..=4u32,
        skips: bool,
        buffer in prop_oneof![1..40u32, Just(1024)],
        poison: u8,
    ) {
        let skips: &[&'static str] = if skips { &["app", "prod"] } else { &[] };
        let mut session = session(segments, skips).in_buffers_of(buffer);
        session.poison = poison;
        let mut expected = std::collections::BTreeMap::new();
        // Each twice: the second time, much of it is known.
        for key in keys.iter().flat_map(|key| [key, key]) {
            session.client(&get(key));
            session.server(b"$1\r\nx\r\n");
            let label = prefix_of(key, segments as usize, skips);
            expected.entry(label).or_insert((0, 0)).0 += 1;
        }
        prop_assert_eq!(session.keys.by_prefix(), expected);
    }
}
