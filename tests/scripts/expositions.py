"""Reads the same metrics in both formats, by the parsers of Prometheus's Python client.

Arguments: a file with the text format, one with OpenMetrics. Prints for each, as JSON, the samples: for a name and
labels, the value; with the bound of a bucket as a number, which the formats write differently.
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


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


text, openmetrics = (read(path) for path in sys.argv[1:])
print(
    json.dumps(
        [
            samples(parser.text_string_to_metric_families(text)),
            samples(openmetrics_parser.text_string_to_metric_families(openmetrics)),
        ]
    )
)
