//! The page at `/`: HTML, a style and scripts of the agent's own, which ask the other endpoints. Nothing comes
//! from elsewhere, nothing is built, and nothing that strangers choose is in it.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

/// Only what this agent serves may run, show, or be asked; nobody may put it into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Clone, Copy)]
struct Part {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const PARTS: [Part; 5] = [
    Part { path: "/", kind: "text/html; charset=utf-8", text: include_str!("page/page.html") },
    Part { path: "/page.css", kind: "text/css; charset=utf-8", text: include_str!("page/page.css") },
    Part { path: "/tables.js", kind: "text/javascript; charset=utf-8", text: include_str!("page/tables.js") },
    Part { path: "/page.js", kind: "text/javascript; charset=utf-8", text: include_str!("page/page.js") },
    Part { path: "/icon.svg", kind: "image/svg+xml", text: include_str!("page/icon.svg") },
];

/// Paths, and what answers at them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>()
-> impl Iterator<Item = (&'static str, MethodRouter<S>)> {
    PARTS.into_iter().map(|part| (part.path, get(async move || part.answer())))
}

impl Part {
    fn answer(self) -> Response {
        const HEADERS: [(HeaderName, &str); 4] = [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // Another version's page asks what this one does not answer.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (HEADERS, [(header::CONTENT_TYPE, self.kind)], self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::PARTS;

    fn part(path: &str) -> &'static str {
        PARTS.iter().find(|part| part.path == path).map(|part| part.text).unwrap_or_default()
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_runs_nothing_inline() {
        for part in PARTS {
            // Names of XML are no addresses that anything is asked at.
            let text = part.text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "//cdn", "@import", "url("] {
                assert!(!text.contains(foreign), "{}: {foreign}", part.path);
            }
        }
        let page = part("/");
        for inline in ["<style", " style=", "onclick", "onload", "javascript:", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
        for (tag, named) in [
            ("<script src=\"", &["tables.js", "page.js"][..]),
            ("<link rel=\"stylesheet\" href=\"", &["page.css"]),
        ] {
            let paths: Vec<&str> =
                page.split(tag).skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert_eq!(paths, named);
            assert!(paths.iter().all(|path| !part(&format!("/{path}")).is_empty()), "{paths:?}");
        }
    }

    #[test]
    fn the_scripts_set_text_only() {
        let script = [part("/tables.js"), part("/page.js")].concat();
        for html in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", ".style"] {
            assert!(!script.contains(html), "{html}");
        }
        // Every element that it looks for is there.
        for id in script.split("byId(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(part("/").contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
