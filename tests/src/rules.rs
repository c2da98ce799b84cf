//! The rules that Prometheus is given, as far as tests read them, and the metrics that they may use.

pub mod exported;
pub mod promql;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use promql::Names;

/// Labels by metric.
pub type Metrics = BTreeMap<String, BTreeSet<String>>;

/// Labels that every metric gets when it is scraped.
const TARGET: [&str; 2] = ["job", "instance"];

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// The alert's name, or that of what is recorded.
    pub name: String,
    /// An alert, rather than a recording.
    pub is_alert: bool,
    /// What its expression names.
    pub names: Names,
    /// Labels that an alert adds itself.
    pub labels: BTreeMap<String, String>,
    /// An alert's texts, by name.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads a file of rules.
pub fn read(text: &str) -> anyhow::Result<Vec<Rule>> {
    let file: File = serde_saphyr::from_str(text)?;
    file.groups.into_iter().flat_map(|group| group.rules).map(rule).collect()
}

fn rule(written: Written) -> anyhow::Result<Rule> {
    let Written { alert, record, expr, labels, annotations } = written;
    let is_alert = alert.is_some();
    let name = alert.or(record).context("a rule without a name")?;
    let names = promql::names(&expr).with_context(|| name.clone())?;
    Ok(Rule { name, is_alert, names, labels, annotations })
}

/// The labels that a text's template speaks of.
fn spoken(text: &str) -> impl Iterator<Item = String> {
    let is_of_name = |&next: &char| next.is_ascii_alphanumeric() || next == '_';
    text.split("$labels.").skip(1).map(move |after| after.chars().take_while(is_of_name).collect())
}

/// Adds a family to metrics: a histogram is three of them.
pub fn add(metrics: &mut Metrics, family: &str, is_histogram: bool, labels: impl Iterator<Item = String>) {
    let mut labels: BTreeSet<String> = labels.collect();
    if !is_histogram {
        metrics.insert(family.to_owned(), labels);
        return;
    }
    for suffix in ["sum", "count"] {
        metrics.insert(format!("{family}_{suffix}"), labels.clone());
    }
    labels.insert("le".to_owned());
    metrics.insert(format!("{family}_bucket"), labels);
}

/// Metrics as Prometheus has them: those of agents that it scrapes, and what rules record from them.
pub fn scraped(exported: &Metrics) -> Metrics {
    let target = TARGET.map(str::to_owned);
    let mut metrics = exported.clone();
    for labels in metrics.values_mut() {
        labels.extend(target.clone());
    }
    metrics.insert("up".to_owned(), target.into());
    metrics
}

/// What an expression names that is not among metrics; and the labels that its results may have.
pub fn look_up(names: &Names, metrics: &Metrics) -> (Vec<String>, BTreeSet<String>) {
    let Names { selectors, grouping, made } = names;
    let mut labels = BTreeSet::new();
    let mut unknown = Vec::new();
    for (metric, matchers) in selectors {
        let Some(has) = metrics.get(metric) else {
            unknown.push(format!("no metric {metric}"));
            continue;
        };
        let absent = matchers.iter().chain(grouping).filter(|label| !has.contains(*label));
        unknown.extend(absent.map(|label| format!("no label {label} of {metric}")));
        labels.extend(has.clone());
    }
    // What is grouped keeps no other labels.
    let mut results = if grouping.is_empty() { labels } else { grouping.clone() };
    results.remove("le");
    results.extend(made.clone());
    (unknown, results)
}

/// What rules name that neither these metrics nor rules before them have; and all metrics that there are then.
pub fn record(rules: &[Rule], exported: &Metrics) -> anyhow::Result<(Vec<String>, Metrics)> {
    let mut metrics = scraped(exported);
    let mut unknown = Vec::new();
    for rule in rules {
        let (absent, mut results) = look_up(&rule.names, &metrics);
        unknown.extend(absent.into_iter().map(|problem| format!("{}: {problem}", rule.name)));
        let told = rule.annotations.values().flat_map(|text| spoken(text));
        let absent = told.filter(|label| !results.contains(label));
        unknown.extend(absent.map(|label| format!("{}: speaks of label {label}", rule.name)));
        if !rule.is_alert {
            ensure!(rule.labels.is_empty(), "{} adds labels", rule.name);
            // Buckets of a histogram that a rule records under another name.
            if rule.name.ends_with("_bucket") {
                results.insert("le".to_owned());
            }
            ensure!(metrics.insert(rule.name.clone(), results).is_none(), "{} is recorded twice", rule.name);
        }
    }
    Ok((unknown, metrics))
}

/// What rules name that neither these metrics nor rules before them have.
pub fn unknown(rules: &[Rule], exported: &Metrics) -> anyhow::Result<Vec<String>> {
    Ok(record(rules, exported)?.0)
}

/// The metrics that a page in Markdown lists in tables, whose rows begin with a family's name: either with its
/// labels in braces, or with columns for its type and the extra labels beside those that every family has.
pub fn listed(page: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with("| `") {
            continue;
        }
        for family in quoted(cells[0]) {
            let (name, labels) = family.split_once('{').unwrap_or((family, ""));
            let in_braces = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
            let extra =
                cells.get(2).filter(|_| cells.len() == 4).map(|cell| quoted(cell)).unwrap_or_default();
            let of_all: &[&str] = if cells.len() == 4 { &["process", "container", "role"] } else { &[] };
            let labels = in_braces.chain(extra).chain(of_all.iter().copied()).map(str::to_owned);
            add(&mut metrics, name, cells.get(1) == Some(&"histogram"), labels);
        }
    }
    metrics
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::{listed, read, unknown};

    const RULES: &str = "groups:
  - name: some
    rules:
      # A comment - alert: Not
      - record: some:size:p99
        expr: |
          histogram_quantile(0.99, sum by (job, process, le) (rate(size_bytes_bucket{role=\"server\"}[5m])))
      - alert: Large
        expr: |
          some:size:p99 > 5
          and
          some:size:p99 < 9
        labels:
          severity: critical
        annotations:
          summary: >-
            {{ $labels.process }} is large
";
    const PAGE: &str = "| family | type | extra labels | |
|---|---|---|---|
| `size_bytes`, `other_bytes` | histogram | `direction` | sizes |
| `open` | gauge | | open now |
| `lost_total{protocol,reason}` | what is lost |
";

    #[test]
    fn what_is_listed_is_known() -> anyhow::Result<()> {
        let metrics = listed(PAGE);
        assert!(metrics["size_bytes_sum"].iter().eq(["container", "direction", "process", "role"]));
        assert!(metrics["other_bytes_bucket"].contains("le"));
        assert!(metrics["open"].iter().eq(["container", "process", "role"]));
        assert!(metrics["lost_total"].iter().eq(["protocol", "reason"]));
        let rules = read(RULES)?;
        assert_eq!(rules.iter().map(|rule| rule.is_alert).collect::<Vec<_>>(), [false, true]);
        assert_eq!(unknown(&rules, &metrics)?, [""; 0]);
        Ok(())
    }

    #[test]
    fn what_is_not_is_told() -> anyhow::Result<()> {
        for (from, to, expected) in [
            ("size_bytes_bucket", "sizes_bucket", "some:size:p99: no metric sizes_bucket"),
            ("{role=", "{end=", "some:size:p99: no label end of size_bytes_bucket"),
            ("by (job, ", "by (work, ", "some:size:p99: no label work of size_bytes_bucket"),
            ("$labels.process", "$labels.role", "Large: speaks of label role"),
            ("some:size:p99 > 5", "some:size:p95 > 5", "Large: no metric some:size:p95"),
        ] {
            let found = unknown(&read(&RULES.replace(from, to))?, &listed(PAGE))?;
            assert!(found.iter().any(|problem| problem == expected), "{expected}: {found:?}");
        }
        assert!(read(&RULES.replace("expr: |", "query: |")).is_err());
        assert!(read(&RULES.replace("- record: ", "- rule: ")).is_err());
        Ok(())
    }
}
