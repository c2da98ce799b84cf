//! Grafana's dashboards, as far as tests read them.

use std::fs;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::deployed::files;

/// A dashboard.
#[derive(Clone, Debug, Deserialize)]
pub struct Dashboard {
    /// What other dashboards link to, and Grafana knows it by.
    pub uid: String,
    /// What it is called.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Its panels, with the rows' headings.
    pub panels: Vec<Panel>,
    /// To other dashboards.
    pub links: Vec<Link>,
    /// What can be chosen.
    pub templating: List<Variable>,
    /// What is marked in time.
    pub annotations: List<Annotation>,
}

/// A list of this name.
#[derive(Clone, Debug, Deserialize)]
pub struct List<T> {
    /// What is in it.
    pub list: Vec<T>,
}

/// A link.
#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    /// Where to, with variables.
    pub url: String,
}

/// A variable.
#[derive(Clone, Debug, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What asks for its values; or text, where nothing does.
    pub query: Value,
}

/// Marks in time.
#[derive(Clone, Debug, Deserialize)]
pub struct Annotation {
    /// The query whose results are marked.
    pub expr: String,
}

/// A panel, or a row's heading.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// What others in the same dashboard are not called.
    pub id: u32,
    /// What it looks like; `row` for a heading.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it shows.
    pub title: String,
    /// What that means.
    #[serde(default)]
    pub description: String,
    /// Where.
    pub grid_pos: Place,
    /// What it asks for.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// How values are shown.
    #[serde(default)]
    pub field_config: Value,
}

/// A place on the grid, which is 24 wide.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "left and top, width and height")]
pub struct Place {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

impl Place {
    /// Whether both cover a cell.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

/// A query.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// In `PromQL`, with variables.
    pub expr: String,
    /// How its series are called, by their labels.
    pub legend_format: String,
}

/// All dashboards, as JSON and as they are read.
pub fn all() -> anyhow::Result<Vec<(Value, Dashboard)>> {
    let read = |file: &std::path::PathBuf| -> anyhow::Result<(Value, Dashboard)> {
        let text = fs::read_to_string(file)?;
        Ok((serde_json::from_str(&text)?, serde_json::from_str(&text)?))
    };
    let files = files("grafana/dashboards", "json")?;
    files.iter().map(|file| read(file).with_context(|| file.display().to_string())).collect()
}

impl Dashboard {
    /// Its queries, each with the panel that it is of, as Grafana would ask them with everything chosen.
    pub fn queries(
        &self,
        rate_interval: &str,
        range: &str,
    ) -> anyhow::Result<Vec<(&Panel, &Target, String)>> {
        let targets =
            self.panels.iter().flat_map(|panel| panel.targets.iter().map(move |target| (panel, target)));
        targets
            .map(|(panel, target)| {
                let query = self.chosen(&target.expr, rate_interval, range);
                Ok((panel, target, query.with_context(|| self.called(panel))?))
            })
            .collect()
    }

    /// The selector and the label of those variables that ask for their values.
    pub fn offered(&self) -> anyhow::Result<Vec<(&str, String, String)>> {
        let asking = self.templating.list.iter().filter(|variable| variable.query.is_object());
        asking
            .map(|Variable { name, query }| {
                let inner = query["query"].as_str().and_then(|text| text.strip_prefix("label_values("));
                let split = inner.and_then(|inner| inner.strip_suffix(')')?.rsplit_once(", "));
                let (selector, label) = split.with_context(|| format!("no label_values: {query}"))?;
                Ok((name.as_str(), self.chosen(selector, "1m", "1h")?, label.to_owned()))
            })
            .collect()
    }

    /// What marks alerts, with everything chosen.
    pub fn marks(&self) -> anyhow::Result<Vec<String>> {
        self.annotations.list.iter().map(|one| self.chosen(&one.expr, "1m", "1h")).collect()
    }

    /// What a panel is called in messages.
    pub fn called(&self, panel: &Panel) -> String {
        format!("{} / {}", self.uid, panel.title)
    }

    fn chosen(&self, expression: &str, rate_interval: &str, range: &str) -> anyhow::Result<String> {
        let mut chosen = expression.replace("$__rate_interval", rate_interval).replace("$__range", range);
        for variable in &self.templating.list {
            chosen = chosen.replace(&format!("\"${}\"", variable.name), "\".+\"");
        }
        ensure!(!chosen.contains('$'), "a variable that is not there: {chosen}");
        Ok(chosen)
    }
}
