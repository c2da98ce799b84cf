//! Templates of routes that are given: as text, and as the tree by which the kernel half finds the one that a path is of,
//! segment by segment, without going back.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use observer_ebpf::protocols::http::layout::{ANY, GivenTemplate, ROOT, ROUTE_MAX, TreeKey};

/// The longest template in bytes, and the longest of its segments.
const TEMPLATE_MAX: usize = 96;
const SEGMENT_MAX: usize = 32;
/// The most nodes of a tree.
const NODES_MAX: usize = 65_536;

/// A template, such as `/users/{name}/orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// Each segment; `None` for one that may be anything.
    segments: Vec<Option<String>>,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{text:?} {why}");
        let Some(path) = text.strip_prefix('/') else {
            return Err(wrong("does not start with a slash".to_owned()));
        };
        if text.len() > TEMPLATE_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?') {
            return Err(wrong(format!("is not at most {TEMPLATE_MAX} characters of a path, in ASCII")));
        }
        let segment = |segment: &str| {
            if segment.starts_with('{') && segment.ends_with('}') {
                Ok(None)
            } else if segment.contains(['{', '}']) {
                Err(wrong(format!("has braces in {segment:?} that are not around all of it")))
            } else if segment.len() > SEGMENT_MAX {
                Err(wrong(format!("has a segment of more than {SEGMENT_MAX} characters")))
            } else {
                Ok(Some(segment.to_owned()))
            }
        };
        let segments = path.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), segments })
    }
}

/// The tree: where each segment leads from a node, and what ends at one.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Nodes, by the node before and a segment.
    pub edges: Vec<(TreeKey, u32)>,
    /// Templates, by node.
    pub ends: Vec<(u32, GivenTemplate)>,
}

impl Tree {
    /// Of these templates. `None` if it has too many nodes.
    ///
    /// A node stands for all templates that a path may still be of, so that there is one way to go at each: a segment that
    /// some template names leads to those that name it and to those that take any.
    pub fn of(templates: &[Template]) -> Option<Self> {
        let mut tree = Self::default();
        let mut known: BTreeMap<(usize, Vec<usize>), u32> = BTreeMap::new();
        let mut open = vec![(0, (0..templates.len()).collect::<Vec<_>>())];
        known.insert((0, open[0].1.clone()), ROOT);
        while let Some((depth, alive)) = open.pop() {
            let node = known[&(depth, alive.clone())];
            let ends = alive.iter().filter(|&&at| templates[at].segments.len() == depth);
            // The one that names the first segment in which they differ.
            let best = ends
                .min_by_key(|&&at| templates[at].segments.iter().map(Option::is_none).collect::<Vec<_>>());
            if let Some(&best) = best {
                tree.ends.push((node, given(&templates[best].text)));
            }
            let segments = |at: &usize| templates[*at].segments.get(depth);
            let names: BTreeSet<Option<&str>> =
                alive.iter().filter_map(&segments).map(Option::as_deref).collect();
            for name in names {
                let is_next = |at: &usize| {
                    segments(at).is_some_and(|segment| match segment {
                        Some(literal) => Some(&**literal) == name,
                        None => name != Some(""),
                    })
                };
                let next: Vec<usize> = alive.iter().copied().filter(|at| is_next(at)).collect();
                let count = known.len() as u32;
                let to = *known.entry((depth + 1, next.clone())).or_insert_with(|| {
                    open.push((depth + 1, next));
                    ROOT + count
                });
                tree.edges.push((key(node, name), to));
            }
            if known.len() > NODES_MAX {
                return None;
            }
        }
        Some(tree)
    }
}

fn given(text: &str) -> GivenTemplate {
    let mut bytes = [0; ROUTE_MAX];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    GivenTemplate { bytes, length: text.len() as u64 }
}

fn key(node: u32, name: Option<&str>) -> TreeKey {
    let mut bytes = [0; SEGMENT_MAX];
    let name = name.map(str::as_bytes);
    if let Some(name) = name {
        bytes[..name.len()].copy_from_slice(name);
    }
    TreeKey { bytes, length: name.map_or(ANY, |name| name.len() as u32), node }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Template, Tree, key};

    /// What a path is of, found as the kernel half finds it.
    fn find(tree: &Tree, path: &str) -> Option<String> {
        let edges: HashMap<_, _> = tree.edges.iter().copied().collect();
        let mut node = super::ROOT;
        for segment in path.split('/').skip(1) {
            let any = edges.get(&key(node, None)).filter(|_| !segment.is_empty());
            node = *edges.get(&key(node, Some(segment))).or(any)?;
        }
        let (_, given) = tree.ends.iter().find(|(end, _)| *end == node)?;
        Some(String::from_utf8(given.bytes[..given.length as usize].to_vec()).expect("ASCII"))
    }

    #[test]
    fn a_path_is_of_the_template_that_names_most_of_it() {
        let texts = ["/", "/a/{x}/c", "/a/b/d", "/a/{y}", "/a/b/{z}", "/{any}/{thing}/c", "/a/b/"];
        let templates: Vec<Template> = texts.iter().map(|text| text.parse().expect("it is one")).collect();
        let tree = Tree::of(&templates).expect("it is small");
        for (path, template) in [
            ("/", Some("/")),
            ("/a", None),
            ("/a/", None),
            ("/a/b", Some("/a/{y}")),
            ("/a/b/c", Some("/a/b/{z}")),
            ("/a/q/c", Some("/a/{x}/c")),
            ("/a/b/d", Some("/a/b/d")),
            ("/a/b/e", Some("/a/b/{z}")),
            ("/a/b/", Some("/a/b/")),
            ("/z/b/c", Some("/{any}/{thing}/c")),
            ("/z/b/d", None),
            ("/a/b/c/d", None),
        ] {
            assert_eq!(find(&tree, path).as_deref(), template, "{path}");
        }
        assert!(Tree::of(&[]).expect("it is empty").edges.is_empty());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "a", "/a?b", "/a b", "/é", "/{a}b", "/a{b}", "/{", &format!("/{}", "x".repeat(33))]
        {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
        assert!(format!("/{}", "abc/".repeat(24)).parse::<Template>().is_err());
    }
}
