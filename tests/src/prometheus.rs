//! A Prometheus server of a test's own.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::deployed::{deploy, files};
use crate::served::Served;
use crate::sooner::sooner;

/// It scrapes and evaluates no more often than that.
const LEAST: Duration = Duration::from_secs(1);

/// A server without any sample yet. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus(Served);

impl Prometheus {
    /// Starts one with the configuration and the rules of `deploy/`, by which everything takes `divisor` times
    /// less time, that scrapes an agent and tells an Alertmanager.
    pub fn start(agent: &str, alertmanager: &str, divisor: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        fs::create_dir(path.join("rules"))?;
        for file in files("prometheus/rules", "yml")? {
            let name = file.file_name().context("a file without a name")?;
            fs::write(path.join("rules").join(name), sooner(&fs::read_to_string(&file)?, divisor, LEAST)?)?;
        }
        let mut text =
            sooner(&fs::read_to_string(deploy().join("prometheus/prometheus.yml"))?, divisor, LEAST)?;
        for (from, to) in [("[127.0.0.1:9941]", agent), ("[127.0.0.1:9093]", alertmanager)] {
            ensure!(text.matches(from).count() == 1, "{from} is not in prometheus.yml");
            text = text.replace(from, &format!("[{to}]"));
        }
        fs::write(path.join("prometheus.yml"), text)?;
        let arguments = [
            format!("--config.file={}", path.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", path.join("data").display()),
        ];
        Served::start("prometheus", directory, &arguments).map(Self)
    }

    /// Starts one that does nothing but scrape an agent once a second.
    pub fn scraping(agent: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let text = format!(
            "scrape_configs: [{{job_name: observer, scrape_interval: 1s, static_configs: [{{targets: ['{agent}']}}]}}]\n"
        );
        fs::write(path.join("prometheus.yml"), text)?;
        let arguments = [
            format!("--config.file={}", path.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", path.join("data").display()),
        ];
        Served::start("prometheus", directory, &arguments).map(Self)
    }

    /// The data that its API answers with.
    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1/{path}", self.0.address());
        // An answer that tells an error is wanted, too.
        let config = ureq::get(url).config().http_status_as_error(false).build();
        let mut answer = config.query_pairs(parameters.iter().copied()).call()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        ensure!(answer["status"] == "success", "{path} {parameters:?}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The samples that a query gives now: labels and value of each.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let data = self.ask("query", &[("query", query)])?;
        data["result"].as_array().cloned().with_context(|| format!("{query}: {data}"))
    }

    /// The values of a label, of series that a selector selects.
    pub fn label_values(&self, selector: &str, label: &str) -> anyhow::Result<Vec<String>> {
        let data = self.ask(&format!("label/{label}/values"), &[("match[]", selector)])?;
        Ok(serde_json::from_value(data)?)
    }

    /// Alerts that are pending or fire: labels and state of each.
    pub fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        let data = self.ask("alerts", &[])?;
        data["alerts"].as_array().cloned().with_context(|| format!("no alerts: {data}"))
    }

    /// Fails unless it was able to evaluate every one of so many rules.
    pub fn all_rules_work(&self, count: usize) -> anyhow::Result<()> {
        let data = self.ask("rules", &[])?;
        let groups = data["groups"].as_array().into_iter().flatten();
        let rules: Vec<&Value> = groups.filter_map(|group| group["rules"].as_array()).flatten().collect();
        ensure!(rules.len() == count, "{} rules of {count}", rules.len());
        for rule in rules {
            ensure!(rule["health"] == "ok", "{rule}");
        }
        Ok(())
    }
}
