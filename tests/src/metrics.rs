//! Prometheus's text format, as far as tests read it.

use std::collections::BTreeMap;

/// A scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
    samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The series' name, such as `x_total` or `x_bucket`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Reads a scrape; lines that are no samples are left out.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect();
        Self { text: text.to_owned(), samples }
    }

    /// The scrape as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The series called `name` that have all of `labels`.
    pub fn series<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|is| is == value))
        })
    }

    /// The same, for names and labels that are not kept.
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &&Sample| {
            let is = |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|is| is == value);
            sample.name == name && labels.iter().all(is)
        };
        self.samples.iter().filter(has).collect()
    }

    /// The sum of the series called `name` that have all of `labels`; 0 without any.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    while let Some((key, after)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    escaped => text.push(escaped),
                },
                (_, character) => text.push(character),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), text);
        rest = &after[end + 1..];
    }
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Whether a line of a scrape tells of something that could not be seen or parsed.
pub fn is_loss(line: &str) -> bool {
    ["desync", "unsynchronised", "unparsed", "unmatched", "events_lost"]
        .iter()
        .any(|what| line.contains(what))
}

/// Times that the agent came out of sync with a protocol's streams.
pub fn desyncs(metrics: &Metrics, protocol: &str) -> f64 {
    metrics.sum("observer_desyncs_total", &[("protocol", protocol)])
}

/// Bytes that the processes of a name have sent or received.
pub fn bytes(metrics: &Metrics, process: &str, direction: &str) -> f64 {
    metrics.sum("observer_bytes_total", &[("process", process), ("direction", direction)])
}

/// Bytes that were counted and could not be read, for a reason.
pub fn unparsed(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("observer_unparsed_bytes_total", &[("reason", reason)])
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn labels_are_read_with_their_escapes() {
        let metrics = Metrics::parse("# HELP x X.\nx{a=\"1\",b=\"q\\\"\\\\\\n,}\"} 2\nx 3\n");
        assert_eq!(metrics.sum("x", &[("b", "q\"\\\n,}")]), 2.0);
        assert_eq!(metrics.sum("x", &[]), 5.0);
    }
}
