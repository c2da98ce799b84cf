//! Columns of routes.

use super::{Column, Kind, Listed, Value, recent};
use crate::routes::Route;

impl Route {
    /// Whom its requests are addressed to, as far as that is told: at a client the authority, else the server's end.
    fn to(&self) -> &str {
        if self.authority.is_empty() { &self.server } else { &self.authority }
    }
}

impl Listed for Route {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new('n', "PROCESS", "command name", Kind::Text, 15, 0, |row| Value::Text(&row.process)),
        Column::new('k', "CONTAINER", "its container's id", Kind::Text, 12, 9, |row| {
            Value::Text(&row.container)
        }),
        Column::new('o', "ROLE", "client if it asks, server if it answers", Kind::Text, 6, 1, |row| {
            Value::Text(&row.role)
        }),
        Column::new('s', "TO", "the server's end, or whom a client asks", Kind::Address, 15, 3, |row| {
            Value::Text(row.to())
        }),
        Column::new('m', "METHOD", "the requests' method", Kind::Text, 7, 1, |row| Value::Text(&row.method)),
        Column::new('r', "ROUTE", "their path, ids left out", Kind::Path, 20, 0, |row| {
            Value::Text(&row.route)
        }),
        Column::new('u', "REQ/s", "requests a second, last 10 s", Kind::Number, 5, 0, |row| {
            recent::requests(Some(&row.recent))
        }),
        Column::new('e', "ERR%", recent::ERRORS, Kind::Number, 5, 0, |row| recent::errors(Some(&row.recent))),
        Column::new('l', "P95", recent::P95, Kind::Number, 6, 0, |row| recent::p95(Some(&row.recent))),
        Column::new('t', "REQS", "requests in all", Kind::Number, 5, 5, |row| Value::Count(row.requests)),
        Column::new('x', "ERRS", "errors in all", Kind::Number, 5, 6, |row| Value::Count(row.errors)),
    ];
    const RATE: &'static str = "requests/s";
    const NONE: &'static str = "no request of HTTP has been answered yet";

    fn id(&self) -> String {
        let Self { process, container, role, server, authority, method, route, .. } = self;
        [process, container, role, server, authority, method, route].map(String::as_str).join(" ")
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("process", self.process.clone()),
            ("container", self.container.clone()),
            ("role", self.role.clone()),
            ("server", self.server.clone()),
            ("authority", self.authority.clone()),
            ("method", self.method.clone()),
            ("route", self.route.clone()),
            ("protocol", "http".to_owned()),
        ]
    }

    fn rate(&self) -> Option<f64> {
        Some(self.recent.requests_per_second)
    }
}
