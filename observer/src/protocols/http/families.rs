//! Families of HTTP: requests by route, method and status, with their times and sizes; streams; and who was turned away,
//! as HTTP or once the connection was a WebSocket.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use observer_ebpf::layout::Protocol;
use observer_ebpf::protocols::http::layout::{
    self, DURATIONS, ENDINGS, EVENTS, Ending, FIRST_BYTES, REQUEST_SIZES, REQUESTS, RESPONSE_SIZES,
    RequestCounts, STREAMS,
};

use super::Totals;
use crate::connections;
use crate::ledger::View;
use crate::metrics::SERVER_LABELS;
use crate::metrics::family::{Description, Families, SECOND_NS, Value, bounds, seconds};
use crate::protocols::Books;

const TIME_BOUNDS: [f64; 11] = bounds(&layout::TIME_BOUNDS, SECOND_NS);
const SIZE_BOUNDS: [f64; 7] = bounds(&layout::SIZE_BOUNDS, 1);
const STREAM_BOUNDS: [f64; 7] = bounds(&layout::STREAM_BOUNDS, SECOND_NS);

const REQUEST_LABELS: &[&str] =
    &["process", "container", "role", "server", "authority", "method", "route", "status"];
const METHOD_LABELS: &[&str] = &["process", "container", "role", "server", "authority", "method", "route"];
const ROUTE_LABELS: &[&str] = &["process", "container", "role", "server", "authority", "route"];
const ERROR_LABELS: &[&str] = &["process", "container", "role", "server", "authority", "route", "kind"];
const AUTHORITY_LABELS: &[&str] = &["process", "container", "role", "server", "authority"];

families! {
    /// Families of HTTP.
    FAMILIES:
    ALL = counter("http_requests_total", REQUEST_LABELS, "Requests that are over: answered whole, or ended otherwise.");
    ERRORS = counter(
        "http_request_errors_total",
        ERROR_LABELS,
        "Answers of 500 and above, and connections that ended before the answer was whole, by how.",
    );
    DURATION = histogram(
        "http_request_duration_seconds",
        &TIME_BOUNDS,
        METHOD_LABELS,
        "Time from the first byte of a request to the last of its response; streams are in none.",
    );
    FIRST_BYTE = histogram(
        "observer_http_first_byte_seconds",
        &TIME_BOUNDS,
        ROUTE_LABELS,
        "Time from the first byte of a request to the first of its final response.",
    );
    REQUEST_SIZE = histogram(
        "observer_http_request_size_bytes",
        &SIZE_BOUNDS,
        ROUTE_LABELS,
        "Bytes of the bodies of requests, without the framing of chunks.",
    );
    RESPONSE_SIZE = histogram(
        "observer_http_response_size_bytes",
        &SIZE_BOUNDS,
        ROUTE_LABELS,
        "Bytes of the bodies of responses, without the framing of chunks.",
    );
    IN_FLIGHT = gauge(
        "observer_http_requests_in_flight",
        AUTHORITY_LABELS,
        "Requests that are not over, but for those that are answered with a stream.",
    );
    OPEN_STREAMS = gauge(
        "observer_http_streams",
        ROUTE_LABELS,
        "Open event streams, and other responses without length that take long.",
    );
    STREAM_SECONDS = histogram(
        "observer_http_stream_seconds",
        &STREAM_BOUNDS,
        ROUTE_LABELS,
        "How long streams have lasted that are over.",
    );
    STREAM_EVENTS = counter("observer_http_stream_events_total", ROUTE_LABELS, "Events of event streams.");
    UNMATCHED = counter(
        "observer_http_unmatched_total",
        SERVER_LABELS,
        "Requests whose answers could not be told, and answers whose requests could not; they are in no other family.",
    );
    UNTIMED = counter(
        "observer_http_untimed_requests_total",
        SERVER_LABELS,
        "Requests past the limit of those in flight on a connection, whose times are left out.",
    );
    LEFT_OUT = counter(
        "observer_http_uncounted_requests_total",
        SERVER_LABELS,
        "Requests that there was no room to count by route; they are in no other family.",
    );
    LIMITED = counter(
        "rate_limited_connections_total",
        &["process", "container", "role", "reason"],
        "Connections that the application turned away.",
    );
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        for (server, totals) in &totals.books.http {
            fill_server(families, [process, container, role, server], totals);
        }
        for (reason, count) in turned_away(&totals.connections, &totals.books) {
            let labels = [process, container, role, reason];
            families.of(&LIMITED).push(labels, Value::Counter(count as f64));
        }
    }
}

fn fill_server(families: &mut Families, labels: [&str; 4], totals: &Totals) {
    let [process, container, role, server] = labels;
    let mut by_method: BTreeMap<(&Rc<str>, &Rc<str>, &str), RequestCounts> = BTreeMap::new();
    let mut by_route: BTreeMap<(&Rc<str>, &Rc<str>), RequestCounts> = BTreeMap::new();
    let mut failed: BTreeMap<(&Rc<str>, &Rc<str>), u64> = BTreeMap::new();
    for (row, counts) in &totals.requests {
        let status = if row.status == 0 { "none".to_owned() } else { row.status.to_string() };
        let (authority, route, method) = (&row.authority, &row.route, row.method.name());
        let labels = [process, container, role, server, authority, method, route, &status];
        families.of(&ALL).count(labels, counts.words[REQUESTS]);
        *by_method.entry((authority, route, method)).or_default() += *counts;
        *by_route.entry((authority, route)).or_default() += *counts;
        if row.status >= 500 {
            *failed.entry((authority, route)).or_default() += counts.words[REQUESTS];
        }
    }
    for ((authority, route, method), counts) in &by_method {
        let labels = [process, container, role, server, authority, method, route];
        let (sum, buckets) = counts.observed::<12>(DURATIONS);
        families.of(&DURATION).observe(labels, &buckets, seconds(sum));
    }
    for ((authority, route), counts) in &by_route {
        let labels = [process, container, role, server, authority, route];
        fill_route(families, labels, counts);
        let kinds = [("closed", Ending::Closed), ("reset", Ending::Reset), ("timeout", Ending::Timeout)];
        for (kind, ending) in kinds {
            let labels = [process, container, role, server, authority, route, kind];
            families.of(&ERRORS).count(labels, counts.words[ENDINGS + ending as usize]);
        }
        let failed = failed.get(&(*authority, *route)).copied().unwrap_or_default();
        families.of(&ERRORS).count([process, container, role, server, authority, route, "5xx"], failed);
    }
    let authorities: BTreeSet<&Rc<str>> =
        totals.requests.keys().map(|row| &row.authority).chain(totals.in_flight.keys()).collect();
    for authority in authorities {
        let count = totals.in_flight.get(authority).copied().unwrap_or_default();
        let labels = [process, container, role, server, authority];
        families.of(&IN_FLIGHT).push(labels, Value::Gauge(count as f64));
    }
    let is_streamed = |counts: &RequestCounts| {
        counts.words[EVENTS] > 0 || counts.observed::<8>(STREAMS).1.iter().any(|&count| count > 0)
    };
    let over =
        by_route.iter().filter(|(_, counts)| is_streamed(counts)).map(|(&(one, other), _)| (one, other));
    let routes: BTreeSet<(&Rc<str>, &Rc<str>)> =
        over.chain(totals.streams.keys().map(|(authority, route)| (authority, route))).collect();
    for (authority, route) in routes {
        let key = (Rc::clone(authority), Rc::clone(route));
        let count = totals.streams.get(&key).copied().unwrap_or_default();
        let labels = [process, container, role, server, authority, route];
        families.of(&OPEN_STREAMS).push(labels, Value::Gauge(count as f64));
    }
    families.of(&UNMATCHED).count(labels, totals.slots.unmatched);
    families.of(&UNTIMED).count(labels, totals.slots.untimed);
    families.of(&LEFT_OUT).count(labels, totals.slots.left_out);
}

/// Adds the rows of a route.
fn fill_route(families: &mut Families, labels: [&str; 6], counts: &RequestCounts) {
    let (sum, buckets) = counts.observed::<12>(FIRST_BYTES);
    families.of(&FIRST_BYTE).observe(labels, &buckets, seconds(sum));
    let sizes: [(&Description, usize); 2] =
        [(&REQUEST_SIZE, REQUEST_SIZES), (&RESPONSE_SIZE, RESPONSE_SIZES)];
    for (family, place) in sizes {
        let (sum, buckets) = counts.observed::<8>(place);
        families.of(family).observe(labels, &buckets, sum as f64);
    }
    let (sum, buckets) = counts.observed::<8>(STREAMS);
    families.of(&STREAM_SECONDS).observe(labels, &buckets, seconds(sum));
    families.of(&STREAM_EVENTS).count(labels, counts.words[EVENTS]);
}

/// How often connections were turned away, by reason. From 0 on where it may come to be counted: an alert on an
/// increase must see the first one, too.
fn turned_away<'a>(
    connections: &connections::Totals,
    books: &'a Books,
) -> impl Iterator<Item = (&'static str, u64)> + use<'a> {
    let is_websocket = connections.spoke(Protocol::WebSocket) || books.websocket.has_users();
    let is_http = is_websocket || connections.spoke(Protocol::Http);
    let as_http: u64 = books.http.values().map(|totals| totals.slots.too_many_requests).sum();
    let too_many_requests = as_http + books.websocket.http.too_many_requests;
    let [policy, try_again_later] = books.websocket.turned_away;
    let reasons = [
        ("http_429", is_http, too_many_requests),
        ("ws_1008", is_websocket, policy),
        ("ws_1013", is_websocket, try_again_later),
    ];
    reasons
        .into_iter()
        .filter(|&(_, may_be, count)| may_be || count > 0)
        .map(|(reason, _, count)| (reason, count))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use observer_ebpf::layout::Role;
    use observer_ebpf::protocols::http::layout::{
        Done, ENDINGS, EVENTS, Ending, Method, REQUESTS, RequestCounts,
    };

    use crate::labels::Group;
    use crate::ledger::{GroupTotals, View};
    use crate::metrics::encode;
    use crate::metrics::family::Families;
    use crate::protocols::http::{Row, Stream, Totals};

    fn row(route: &str, method: Method, status: u16) -> Row {
        Row { authority: "api:8080".into(), route: route.into(), method, status }
    }

    #[test]
    fn a_client_reads_as_the_contract_says() {
        let mut totals = Totals::default();
        let mut counts = RequestCounts::default();
        let done = Done {
            duration_ns: 30_000_000,
            first_byte_ns: 5_000_000,
            response_ns: 25_000_000,
            request_bytes: 100,
            response_bytes: 101,
            is_stream: 0,
            is_timed: 1,
            is_sized: 1,
        };
        counts.add(&done);
        counts.add(&Done { duration_ns: 11_000_000_000, ..done });
        totals.add_requests(row("/a/{id}", Method::Get, 200), &counts);
        totals.add_requests(row("/a/{id}", Method::Post, 503), &counts);
        let mut stream = RequestCounts::default();
        stream.add(&Done { is_stream: 1, response_ns: 2_000_000_000, ..done });
        stream.words[EVENTS] = 7;
        totals.add_requests(row("/sse", Method::Get, 200), &stream);
        let mut ended = RequestCounts::default();
        ended.words[REQUESTS] = 2;
        ended.words[ENDINGS + Ending::Reset as usize] = 2;
        totals.add_requests(row("unmatched", Method::Other, 0), &ended);
        let (authority, route): (Rc<str>, Rc<str>) = ("api:8080".into(), "/sse".into());
        totals.add_stream(Stream { authority, route, in_flight: 3, is_stream: true });
        totals.slots.unmatched = 5;

        let group = Group { process: "app".to_owned(), container: String::new(), role: Role::Client };
        let mut of_group = GroupTotals::default();
        of_group.books.http.insert("10.0.0.7:8080".into(), totals);
        let view = View { groups: BTreeMap::from([(group, of_group)]), ..View::default() };
        let mut families = Families::new(&[super::FAMILIES]);
        super::fill(&mut families, &view);
        let text = encode::text(families);
        let server = "process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:8080\"";
        let labels = format!("{server},authority=\"api:8080\"");
        for line in [
            "http_requests_total{L,method=\"GET\",route=\"/a/{id}\",status=\"200\"} 2",
            "http_requests_total{L,method=\"POST\",route=\"/a/{id}\",status=\"503\"} 2",
            "http_requests_total{L,method=\"GET\",route=\"/sse\",status=\"200\"} 1",
            "http_requests_total{L,method=\"other\",route=\"unmatched\",status=\"none\"} 2",
            "http_request_errors_total{L,route=\"/a/{id}\",kind=\"5xx\"} 2",
            "http_request_errors_total{L,route=\"unmatched\",kind=\"reset\"} 2",
            "http_request_duration_seconds_bucket{L,method=\"GET\",route=\"/a/{id}\",le=\"0.05\"} 1",
            "http_request_duration_seconds_bucket{L,method=\"GET\",route=\"/a/{id}\",le=\"10\"} 1",
            "http_request_duration_seconds_sum{L,method=\"GET\",route=\"/a/{id}\"} 11.03",
            "http_request_duration_seconds_count{L,method=\"GET\",route=\"/a/{id}\"} 2",
            "observer_http_first_byte_seconds_bucket{L,route=\"/a/{id}\",le=\"0.005\"} 4",
            "observer_http_request_size_bytes_bucket{L,route=\"/a/{id}\",le=\"100\"} 4",
            "observer_http_response_size_bytes_bucket{L,route=\"/a/{id}\",le=\"100\"} 0",
            "observer_http_response_size_bytes_sum{L,route=\"/a/{id}\"} 404",
            "observer_http_requests_in_flight{L} 3",
            "observer_http_streams{L,route=\"/sse\"} 1",
            "observer_http_stream_seconds_bucket{L,route=\"/sse\",le=\"10\"} 1",
            "observer_http_stream_events_total{L,route=\"/sse\"} 7",
            "observer_http_unmatched_total{S} 5",
        ] {
            let line = line.replace("{L", &format!("{{{labels}")).replace("{S", &format!("{{{server}"));
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("http_request_duration_seconds_count{process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:8080\",authority=\"api:8080\",method=\"GET\",route=\"/sse\""), "streams have no duration:\n{text}");
    }
}
