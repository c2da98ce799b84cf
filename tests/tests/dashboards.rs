//! Grafana's dashboards: what they ask is valid, of metrics that there are, and they can be looked at. That
//! each panel's query returns data is in `alerts.rs`.

// needs: nothing
// takes: 1 s

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use observer_tests::dashboards::{self, Dashboard};
use observer_tests::deployed::{all_rules, deploy, said};
use observer_tests::rules::{self, Metrics, promql};
use serde_json::{Value, json};

/// What can be asked for.
fn metrics() -> anyhow::Result<Metrics> {
    let mut exported = rules::exported::metrics();
    // Those of any process.
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
        exported.insert(name.to_owned(), BTreeSet::new());
    }
    let rules = all_rules()?;
    let mut metrics = rules::record(&rules, &exported)?.1;
    // What Prometheus itself says of alerts.
    let labels = ["alertname", "alertstate", "instance", "process", "server"].map(str::to_owned);
    let added = rules.iter().flat_map(|rule| rule.labels.keys().cloned());
    metrics.insert("ALERTS".to_owned(), labels.into_iter().chain(added).collect());
    Ok(metrics)
}

fn all() -> anyhow::Result<Vec<Dashboard>> {
    Ok(dashboards::all()?.into_iter().map(|(_, dashboard)| dashboard).collect())
}

#[test]
fn they_are_what_their_source_says() -> anyhow::Result<()> {
    let script = deploy().join("grafana/build.py");
    said("python3", &[&script.display().to_string(), "--check"], &[])?;
    Ok(())
}

/// What Prometheus's own parser says of expressions.
fn parsed(expressions: &[String]) -> anyhow::Result<()> {
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(at, expression)| json!({ "record": format!("query:{at}"), "expr": expression }))
        .collect();
    // JSON is YAML.
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), json!({ "groups": [{ "name": "queries", "rules": rules }] }).to_string())?;
    said("promtool", &["check", "rules", "--lint=none"], &[file.path().to_owned()])?;
    Ok(())
}

#[test]
fn prometheus_accepts_every_query() -> anyhow::Result<()> {
    let mut expressions = Vec::new();
    for dashboard in all()? {
        let queries = dashboard.queries("1m", "1h")?;
        assert!(queries.len() >= 8, "{} asks {} times", dashboard.uid, queries.len());
        expressions.extend(queries.into_iter().map(|(.., query)| query));
        expressions.extend(dashboard.offered()?.into_iter().map(|(_, selector, _)| selector));
        expressions.extend(dashboard.marks()?);
    }
    parsed(&expressions)?;
    for broken in ["sum(up", "rate(up)", "no_function(up)"] {
        expressions.push(broken.to_owned());
        assert!(parsed(&expressions).is_err(), "{broken} passes");
        expressions.pop();
    }
    Ok(())
}

#[test]
fn queries_are_of_metrics_and_labels_that_there_are() -> anyhow::Result<()> {
    let metrics = metrics()?;
    let mut problems = Vec::new();
    for dashboard in all()? {
        for (panel, target, query) in dashboard.queries("1m", "1h")? {
            let (unknown, results) = rules::look_up(&promql::names(&query)?, &metrics);
            let told = target.legend_format.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
            let absent =
                told.map(|(label, _)| label).filter(|&label| label != "le" && !results.contains(label));
            let absent = absent.map(|label| format!("speaks of label {label}"));
            let called = dashboard.called(panel);
            problems.extend(unknown.into_iter().chain(absent).map(|problem| format!("{called}: {problem}")));
        }
        for (name, selector, label) in dashboard.offered()? {
            let (unknown, results) = rules::look_up(&promql::names(&selector)?, &metrics);
            assert!(unknown.is_empty() && results.contains(&label), "{}, {name}: {unknown:?}", dashboard.uid);
        }
        for query in dashboard.marks()? {
            assert_eq!(rules::look_up(&promql::names(&query)?, &metrics).0, [""; 0], "{}", dashboard.uid);
        }
    }
    assert_eq!(problems, [""; 0]);
    Ok(())
}

#[test]
fn they_can_be_looked_at() -> anyhow::Result<()> {
    let all = dashboards::all()?;
    let uids: BTreeSet<&str> = all.iter().map(|(_, dashboard)| dashboard.uid.as_str()).collect();
    let layers = ["flows", "http", "node", "postgres", "redis", "websocket"];
    let expected = layers.map(|layer| format!("observer-{layer}"));
    assert!(uids.iter().eq(&expected), "{uids:?}");
    for (json, dashboard) in &all {
        let Dashboard { uid, title, description, panels, links, templating, .. } = dashboard;
        assert!(json["schemaVersion"].as_u64() >= Some(39), "{uid}");
        assert!(title.starts_with("observer: ") && description.ends_with('.'), "{title}: {description}");
        let names: Vec<&str> = templating.list.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(dashboard.offered()?.len(), names.len() - 2, "{uid}: all but the source and the end ask");
        let has_servers = uid == "observer-postgres" || uid == "observer-redis";
        let expected = ["datasource", "instance", "process", "role", "server"];
        assert_eq!(names, expected[..if has_servers { 5 } else { 4 }], "{uid}");

        let ids: BTreeSet<u32> = panels.iter().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), panels.len(), "{uid}: each panel has a number of its own");
        for (at, panel) in panels.iter().enumerate() {
            let called = dashboard.called(panel);
            let place = panel.grid_pos;
            assert!(place.w > 0 && place.h > 0 && place.x + place.w <= 24, "{called}: {place:?}");
            for other in &panels[..at] {
                assert!(!place.overlaps(&other.grid_pos), "{called} lies on {}", dashboard.called(other));
                let is_same = panel.title == other.title && panel.kind == other.kind;
                assert!(!is_same, "{called} is there twice");
            }
            if panel.kind == "row" {
                continue;
            }
            assert!(
                !panel.title.is_empty() && panel.description.ends_with('.'),
                "{called}: {}",
                panel.description
            );
            assert!(!panel.targets.is_empty(), "{called} asks for nothing");
            let unit = panel.field_config.pointer("/defaults/unit").and_then(Value::as_str);
            assert!(unit.is_some_and(|unit| !unit.is_empty()), "{called} has no unit");
        }

        // Each of the others, and what is chosen with it.
        let to: BTreeSet<&str> =
            links.iter().filter_map(|link| link.url.strip_prefix("/d/")?.split('?').next()).collect();
        assert!(
            to.iter().chain([&uid.as_str()]).collect::<BTreeSet<_>>().into_iter().eq(&uids),
            "{uid}: {to:?}"
        );
        for link in links {
            for name in &expected[..4] {
                assert!(link.url.contains(&format!("${{{name}:queryparam}}")), "{}", link.url);
            }
        }
        let mut asked = BTreeSet::new();
        everywhere(json, &mut |key, value| {
            if key == "datasource"
                && let Some(source) = value.get("uid").and_then(Value::as_str)
            {
                asked.insert(source.to_owned());
            }
            if key == "url" {
                let url = value.as_str().unwrap_or_default();
                let known = url.strip_prefix("/d/").and_then(|rest| rest.split('?').next());
                assert!(known.is_some_and(|known| uids.contains(known)), "{uid}: {url}");
            }
        });
        assert!(asked.iter().eq(["${datasource}"]), "{uid} asks {asked:?}");
    }
    Ok(())
}

/// Everything that has a key.
fn everywhere(json: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match json {
        Value::Object(members) => {
            for (key, value) in members {
                visit(key, value);
                everywhere(value, visit);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| everywhere(element, visit)),
        _ => {}
    }
}

#[test]
fn the_provisioning_file_finds_them() -> anyhow::Result<()> {
    let text = fs::read_to_string(deploy().join("grafana/provisioning.yml"))?;
    let file: Value = serde_saphyr::from_str(&text)?;
    let path = file["providers"][0]["options"]["path"].as_str().context("no path")?;
    assert_eq!((&file["apiVersion"], path), (&json!(1), "/var/lib/grafana/dashboards/observer"));
    Ok(())
}
