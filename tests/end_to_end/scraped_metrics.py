"""The metrics of a server, as a scraper reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from end_to_end.running_server import RunningServer

UPSTREAM_PATH: Final = "/monitoring/prometheus/metrics"
MONITORING: Final = f'prometheus_config {{ enable: true path: "{UPSTREAM_PATH}" }}\n'

#: Labels in order of their names.
Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]

_LINE: Final = re.compile(r"(:tensorflow:[\w:]+)\{(.*)\} (\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')


def labelled(**labels: str) -> Labels:
    return tuple(sorted(labels.items()))


def clean(server: RunningServer) -> Samples:
    """Every sample of `/metrics`, by name and labels."""
    answer = server.get("/metrics")
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.body.decode())
    return {(sample.name, labelled(**sample.labels)): sample.value for family in families for sample in family.samples}


def upstream(server: RunningServer) -> Samples:
    """Every sample of the page with upstream's names, each line of which has to be what upstream writes."""
    answer = server.get(UPSTREAM_PATH)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain"), answer
    text = answer.body.decode()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    samples: Samples = {}
    for line in text[:-1].split("\n"):
        if re.fullmatch(r"# TYPE :tensorflow:[\w:]+ (counter|gauge|untyped|histogram)", line):
            continue
        match = _LINE.fullmatch(line)
        assert match, line
        key = match[1], labelled(**dict(_LABEL.findall(match[2])))
        assert key not in samples, line
        samples[key] = float(match[3])
    return samples


def total(samples: Mapping[tuple[str, Labels], float], name: str, **labels: str) -> float:
    """The sum over all samples of this name that have these labels."""
    return sum(value for (other, has), value in samples.items() if other == name and labels.items() <= dict(has).items())
