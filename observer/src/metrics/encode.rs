//! Families in the formats that Prometheus reads.

use prometheus::proto;
use prometheus::{Encoder as _, TextEncoder};

use super::family::{Family, Kind, Value};
use super::openmetrics;

/// A format that families are told in. Both have the same samples by the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4.
    #[default]
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The content type that it has over HTTP.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => openmetrics::CONTENT_TYPE,
        }
    }
}

/// Encodes families, with those that the `prometheus` crate gathers itself (`process_*`).
pub fn encode(
    format: Format,
    families: &[Family],
    gathered: &[proto::MetricFamily],
) -> prometheus::Result<Vec<u8>> {
    let shown: Vec<&Family> = families.iter().filter(|family| !family.rows.is_empty()).collect();
    let mut all: Vec<proto::MetricFamily> = shown.iter().map(|family| proto_of(family)).collect();
    all.extend_from_slice(gathered);
    let mut text = Vec::with_capacity(64 * 1024);
    match format {
        Format::Text => TextEncoder::new().encode(&all, &mut text)?,
        Format::OpenMetrics => {
            let created: Vec<Vec<Option<f64>>> =
                shown.iter().map(|family| family.rows.iter().map(|row| row.created).collect()).collect();
            openmetrics::encode(&all, &created, &mut text)?;
        }
    }
    Ok(text)
}

/// Families as tests read them: in Prometheus's own format.
///
/// # Panics
///
/// If they cannot be encoded.
#[cfg(test)]
pub fn text(families: super::family::Families) -> String {
    let text = encode(Format::Text, &families.into_vec(), &[]).expect("they can be encoded");
    String::from_utf8(text).expect("it is text")
}

fn proto_of(family: &Family) -> proto::MetricFamily {
    let description = family.description;
    let mut encoded = proto::MetricFamily::default();
    encoded.set_name(description.name.to_owned());
    encoded.set_help(description.help.to_owned());
    encoded.set_field_type(match description.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram(_) => proto::MetricType::HISTOGRAM,
    });
    encoded.set_metric(
        family
            .rows
            .iter()
            .map(|row| metric(description.labels, &row.labels, &row.value, description.kind))
            .collect(),
    );
    encoded
}

fn metric(names: &[&str], labels: &[String], value: &Value, kind: Kind) -> proto::Metric {
    let mut metric = proto::Metric::default();
    let pairs = names.iter().zip(labels).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    });
    metric.set_label(pairs.collect());
    match value {
        Value::Counter(count) => {
            let mut counter = proto::Counter::default();
            counter.set_value(*count);
            metric.set_counter(counter);
        }
        Value::Gauge(level) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(*level);
            metric.set_gauge(gauge);
        }
        Value::Histogram(counts, sum) => {
            let bounds = if let Kind::Histogram(bounds) = kind { bounds } else { &[] };
            metric.set_histogram(histogram(bounds, counts, *sum));
        }
    }
    metric
}

fn histogram(bounds: &[f64], counts: &[u64], sum: f64) -> proto::Histogram {
    let mut histogram = proto::Histogram::default();
    let mut cumulative = 0;
    let buckets = bounds.iter().zip(counts).map(|(&bound, &count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}

#[cfg(test)]
mod tests {
    use super::{Format, encode};
    use crate::metrics::family::{Description, Family, Value};

    #[test]
    fn families_read_as_prometheus_expects() {
        let mut sizes =
            Family::new(Description::histogram("size_bytes", &[100.0, 10_000_000.0], &["process"], "Sizes."));
        sizes.push(["a\"b\n"], Value::Histogram(vec![2, 1, 1], 20_000_003.0));
        let text = encode(Format::Text, &[sizes], &[]).map(String::from_utf8);
        let expected = "# HELP size_bytes Sizes.\n# TYPE size_bytes histogram\n\
            size_bytes_bucket{process=\"a\\\"b\\n\",le=\"100\"} 2\n\
            size_bytes_bucket{process=\"a\\\"b\\n\",le=\"10000000\"} 3\n\
            size_bytes_bucket{process=\"a\\\"b\\n\",le=\"+Inf\"} 4\n\
            size_bytes_sum{process=\"a\\\"b\\n\"} 20000003\nsize_bytes_count{process=\"a\\\"b\\n\"} 4\n";
        assert_eq!(text.ok(), Some(Ok(expected.to_owned())));
    }

    #[test]
    fn names_are_text_in_both_formats() {
        let mut family = Family::new(Description::counter("x_total", &["process"], "X."));
        family.push(["cut\u{fffd}"], Value::Counter(1.0));
        family.push(["a\"b\\c\nd\r"], Value::Counter(2.0));
        for (format, head, end) in [
            (Format::Text, "# HELP x_total X.\n# TYPE x_total counter\n", ""),
            (Format::OpenMetrics, "# TYPE x counter\n# HELP x X.\n", "# EOF\n"),
        ] {
            let text = encode(format, std::slice::from_ref(&family), &[]).map(String::from_utf8);
            let rows = "x_total{process=\"cut\u{fffd}\"} 1\nx_total{process=\"a\\\"b\\\\c\\nd\r\"} 2\n";
            assert_eq!(text.ok(), Some(Ok(format!("{head}{rows}{end}"))));
        }
    }
}
