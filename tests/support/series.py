"""The series that this process shows, and how they change."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import render_metrics

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """Prometheus's text format, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def samples() -> Samples:
    """All of this process's series."""
    return parse(render_metrics().decode())


def value(name: str, **labels: str) -> float | None:
    """What a series is now; None where there is none."""
    return samples().get((name, frozenset(labels.items())))


def grew(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """By how much a series grew."""
    key = name, frozenset(labels.items())
    return after.get(key, 0) - before.get(key, 0)
