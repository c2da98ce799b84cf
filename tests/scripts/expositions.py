"""Reads the same metrics in both formats, by the parsers of Prometheus's Python client.

Arguments: a file with the text format, one with OpenMetrics. Prints for each, as JSON, the samples: for a name and
labels, the value; with the bound of a bucket as a number, which the formats write differently. And then since when
each row counts, which only OpenMetrics tells, by name and labels.
"""

import json
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser


def samples(families):
    found = {}
    for family in families:
        for sample in family.samples:
            labels = dict(sample.labels)
            if "le" in labels:
                labels["le"] = repr(float(labels["le"]))
            series = sample.name + json.dumps(labels, sort_keys=True)
            assert series not in found, series
            found[series] = repr(sample.value)
    return found


def split_created(families):
    """Takes the times out. Every counter and histogram of the agent's own has one, and nothing else does."""
    created = {}
    for family in families:
        times = [sample for sample in family.samples if sample.name.endswith("_created")]
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        series = {json.dumps({**sample.labels, "le": None}, sort_keys=True) for sample in family.samples}
        for sample in times:
            created[sample.name + json.dumps(sample.labels, sort_keys=True)] = sample.value
        if not family.name.startswith("process_"):
            wanted = len(series) if family.type in ("counter", "histogram") else 0
            assert len(times) == wanted, (family.name, len(times), wanted)
    return families, created


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


text, openmetrics = (read(path) for path in sys.argv[1:])
families, created = split_created(list(openmetrics_parser.text_string_to_metric_families(openmetrics)))
print(json.dumps([samples(parser.text_string_to_metric_families(text)), samples(families), created]))
