//! Routes of HTTP, the busiest first: what `/routes` answers, and what `observer top` and the page at `/` show.

use std::rc::Rc;

use observer_ebpf::protocols::http::layout::Method;
use serde::{Deserialize, Serialize};

use crate::labels::Group;
use crate::recent::{Recent, Sums};

/// What `/routes` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// How many seconds [`Recent`] is over: ten, or up to twenty where nobody has looked for long.
    pub seconds: f64,
    /// As many as were asked for, the one with the most requests a second first.
    pub routes: Vec<Route>,
}

/// The requests of one method and route that processes of one name make of one server, or serve. Its first seven members
/// are the labels of a series of `http_request_duration_seconds`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The processes' name.
    pub process: String,
    /// Their container, or empty.
    pub container: String,
    /// `client` or `server`.
    pub role: String,
    /// The server's end.
    pub server: String,
    /// Whom a client's requests are addressed to; empty at a server.
    pub authority: String,
    /// The method.
    pub method: String,
    /// The route.
    pub route: String,
    /// What they were like over the last ten seconds.
    #[serde(flatten)]
    pub recent: Recent,
    /// Requests that are over, in all.
    pub requests: u64,
    /// Those of them that went wrong.
    pub errors: u64,
}

/// What routes are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Whose requests they are.
    pub group: Group,
    /// The server's end.
    pub server: Rc<str>,
    /// Whom a client's requests are addressed to; empty at a server.
    pub authority: Rc<str>,
    /// The route.
    pub route: Rc<str>,
    /// The method.
    pub method: Method,
}

impl Routes {
    /// The busiest, at most `limit`.
    pub fn new(all: impl Iterator<Item = (Name, Sums, Recent)>, seconds: f64, limit: usize) -> Self {
        let mut all: Vec<(Name, Sums, Recent)> = all.collect();
        all.sort_unstable_by(|(one, one_sums, one_recent), (other, other_sums, other_recent)| {
            let by_rate = other_recent.requests_per_second.total_cmp(&one_recent.requests_per_second);
            by_rate.then(other_sums.requests.cmp(&one_sums.requests)).then_with(|| one.cmp(other))
        });
        all.truncate(limit);
        let routes = all.into_iter().map(|(name, sums, recent)| Route::new(&name, sums, recent)).collect();
        Self { seconds, routes }
    }
}

impl Route {
    fn new(name: &Name, sums: Sums, recent: Recent) -> Self {
        let Name { group, server, authority, route, method } = name;
        let [process, container, role] = group.labels().map(str::to_owned);
        let [server, authority, route] = [server, authority, route].map(|text| (**text).to_owned());
        let Sums { requests, errors, durations: _ } = sums;
        let method = method.name().to_owned();
        Self { process, container, role, server, authority, method, route, recent, requests, errors }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::Role;
    use observer_ebpf::protocols::http::layout::Method;

    use super::{Name, Routes};
    use crate::labels::Group;
    use crate::recent::{Recent, Sums};

    #[test]
    fn the_busiest_are_kept() {
        let route = |route: &str, requests_per_second, requests| {
            let group = Group { process: "web".to_owned(), container: String::new(), role: Role::Client };
            let name = Name {
                group,
                server: "[::1]:80".into(),
                authority: "api".into(),
                route: route.into(),
                method: Method::Patch,
            };
            let sums = Sums { requests, errors: 1, ..Sums::default() };
            (name, sums, Recent { requests_per_second, ..Recent::default() })
        };
        let all = [route("/old", 0.0, 7), route("/b", 2.0, 3), route("/a", 2.0, 3), route("/most", 9.0, 1)];
        let paths = |limit| -> Vec<String> {
            let found = Routes::new(all.iter().cloned(), 10.0, limit);
            found.routes.into_iter().map(|route| route.route).collect()
        };
        assert_eq!(paths(10), ["/most", "/a", "/b", "/old"]);
        assert_eq!(paths(2), ["/most", "/a"]);
        assert!(paths(0).is_empty());
        let json = serde_json::to_value(Routes::new(all.into_iter(), 10.5, 1)).expect("it is data");
        let expected = serde_json::json!({ "seconds": 10.5, "routes": [{
            "process": "web", "container": "", "role": "client", "server": "[::1]:80", "authority": "api",
            "method": "PATCH", "route": "/most", "requests_per_second": 9.0, "errors_per_second": 0.0,
            "p95_seconds": null, "requests": 1, "errors": 1,
        }] });
        assert_eq!(json, expected);
    }
}
