//! The text format of `OpenMetrics` 1.0.
//!
//! Samples are called what the text format of Prometheus calls them. So a family is called what the format wants
//! only where that changes no sample: a counter's leaves out its `_total`, and a counter whose samples do not end
//! in it is of type `unknown`.

use std::fmt::{self, Display};
use std::io::{self, Write};

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// The content type of what [`encode`] writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Encodes families, and the mark at the end that tells it from one that was cut off. `created` says of each family's
/// rows since when they count, in seconds since 1970, of as many families and rows as are known.
pub(super) fn encode(
    families: &[MetricFamily],
    created: &[Vec<Option<f64>>],
    out: &mut impl Write,
) -> io::Result<()> {
    for (place, family) in families.iter().enumerate() {
        let created = created.get(place).map_or(&[][..], Vec::as_slice);
        let sample = family.name();
        let (name, kind) = match (family.get_field_type(), sample.strip_suffix("_total")) {
            (MetricType::COUNTER, Some(name)) => (name, "counter"),
            (MetricType::GAUGE, _) => (sample, "gauge"),
            (MetricType::HISTOGRAM, _) => (sample, "histogram"),
            (MetricType::COUNTER | MetricType::SUMMARY | MetricType::UNTYPED, _) => (sample, "unknown"),
        };
        writeln!(out, "# TYPE {name} {kind}")?;
        writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
        for (row, metric) in family.get_metric().iter().enumerate() {
            match family.get_field_type() {
                MetricType::COUNTER => {
                    writeln!(out, "{sample}{} {}", labels(metric), Number(metric.get_counter().get_value()))?;
                }
                MetricType::GAUGE => {
                    writeln!(out, "{sample}{} {}", labels(metric), Number(metric.get_gauge().get_value()))?;
                }
                MetricType::HISTOGRAM => histogram(sample, metric, out)?,
                // There are none.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
            if let ("counter" | "histogram", Some(Some(created))) = (kind, created.get(row)) {
                writeln!(out, "{name}_created{} {}", labels(metric), Number(milliseconds(*created)))?;
            }
        }
    }
    out.write_all(b"# EOF\n")
}

/// A time in seconds, to the millisecond, which is as exact as Prometheus takes it.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn histogram(name: &str, metric: &Metric, out: &mut impl Write) -> io::Result<()> {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    for bucket in finite {
        let labels = Labels { metric, bound: Some(bucket.upper_bound()) };
        writeln!(out, "{name}_bucket{labels} {}", bucket.cumulative_count())?;
    }
    writeln!(out, "{name}_bucket{} {count}", Labels { metric, bound: Some(f64::INFINITY) })?;
    writeln!(out, "{name}_sum{} {}", labels(metric), Number(histogram.get_sample_sum()))?;
    writeln!(out, "{name}_count{} {count}", labels(metric))
}

struct Labels<'a> {
    metric: &'a Metric,
    /// The upper bound, if it is a histogram's bucket.
    bound: Option<f64>,
}

const fn labels(metric: &Metric) -> Labels<'_> {
    Labels { metric, bound: None }
}

impl Display for Labels<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = '{';
        for pair in self.metric.get_label() {
            write!(out, "{before}{}=\"{}\"", pair.name(), Escaped(pair.value()))?;
            before = ',';
        }
        if let Some(bound) = self.bound {
            write!(out, "{before}le=\"{}\"", Canonical(bound))?;
            before = ',';
        }
        if before == ',' { out.write_str("}") } else { Ok(()) }
    }
}

/// Text with what would end it, or its line, escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            let (plain, from) = rest.split_at(at);
            out.write_str(plain)?;
            out.write_str(match from.as_bytes()[0] {
                b'\\' => "\\\\",
                b'"' => "\\\"",
                _ => "\\n",
            })?;
            // Each of the three is one byte.
            rest = &from[1..];
        }
        out.write_str(rest)
    }
}

/// A value.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => out.write_str("NaN"),
            f64::INFINITY => out.write_str("+Inf"),
            f64::NEG_INFINITY => out.write_str("-Inf"),
            value => write!(out, "{value}"),
        }
    }
}

/// A bucket's bound as the format's canonical numbers are: `0.001`, `1.0`, `100000.0`, `1e+06`, `1.5e+06`.
struct Canonical(f64);

impl Display for Canonical {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bound) = *self;
        let size = bound.abs();
        if size.is_finite() && size != 0.0 && !(1e-4..1e6).contains(&size) {
            // An exponent has two digits at least, and a sign.
            let text = format!("{bound:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or_default();
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(out, "{digits}e{sign}{:02}", exponent.abs())
        } else if size.is_finite() && bound.fract() == 0.0 {
            write!(out, "{bound:.1}")
        } else {
            write!(out, "{}", Number(bound))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Canonical;
    use crate::metrics::encode::{Format, encode};
    use crate::metrics::family::{Description, Family, Kind, Value};

    #[test]
    fn bounds_are_canonical_numbers() {
        // The specification's examples, section "Considerations: Canonical Numbers".
        for (bound, text) in [
            (0.0, "0.0"),
            (0.001, "0.001"),
            (0.01, "0.01"),
            (0.1, "0.1"),
            (0.5, "0.5"),
            (1.0, "1.0"),
            (10.0, "10.0"),
            (1e-10, "1e-10"),
            (1e-9, "1e-09"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1e10, "1e+10"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(Canonical(bound).to_string(), text);
        }
    }

    #[test]
    fn samples_keep_their_names() {
        let mut families = Vec::new();
        for (name, kind, value) in [
            ("hits_total", Kind::Counter, Value::Counter(3.0)),
            ("hits", Kind::Counter, Value::Counter(4.5)),
            ("evictions_total", Kind::Gauge, Value::Gauge(f64::NAN)),
            ("size_bytes", Kind::Histogram(&[100.0, 1e7]), Value::Histogram(vec![2, 1, 1], 20_000_003.0)),
        ] {
            let mut family =
                Family::new(Description { name, help: "A \"b\"\\.", kind, labels: &["process"] });
            family.push(["a\"b\n\\"], value);
            family.rows[0].created = Some(1_700_000_000.123_456);
            families.push(family);
        }
        families.push(Family::new(Description { name: "none", help: "", kind: Kind::Gauge, labels: &[] }));
        let text = encode(Format::OpenMetrics, &families, &[]).map(String::from_utf8);
        let expected = r#"# TYPE hits counter
# HELP hits A \"b\"\\.
hits_total{process="a\"b\n\\"} 3
hits_created{process="a\"b\n\\"} 1700000000.123
# TYPE hits unknown
# HELP hits A \"b\"\\.
hits{process="a\"b\n\\"} 4.5
# TYPE evictions_total gauge
# HELP evictions_total A \"b\"\\.
evictions_total{process="a\"b\n\\"} NaN
# TYPE size_bytes histogram
# HELP size_bytes A \"b\"\\.
size_bytes_bucket{process="a\"b\n\\",le="100.0"} 2
size_bytes_bucket{process="a\"b\n\\",le="1e+07"} 3
size_bytes_bucket{process="a\"b\n\\",le="+Inf"} 4
size_bytes_sum{process="a\"b\n\\"} 20000003
size_bytes_count{process="a\"b\n\\"} 4
size_bytes_created{process="a\"b\n\\"} 1700000000.123
# EOF
"#;
        assert_eq!(text.ok(), Some(Ok(expected.to_owned())));
    }
}
