"""Requests as schemathesis makes them of the API's document: those that fit it, and those that do not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final, TypeAlias

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi.schemas import OpenApiSchema

from sandbox.processes import ROOT

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
AnyCase: TypeAlias = Case[Any]

BOUNDS: Final = 0.4
"""Of an operation's requests: those that schemathesis's coverage phase makes, each of which breaks one rule of the
document, asks by a method that there is not or leaves a header out."""
NEGATIVE: Final = 0.2
"""Of them: those with something at random that does not fit."""

_CHOICE: Final = 3

_CHECKS: Final[dict[str, Any]] = {
    # beside what is wrong with a request, something else may be: its token, its size, the version that it names
    "negative_data_rejection": {
        "expected-statuses": ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "429"]
    },
    # what fits the document may still not be: for this caller, for the order as it stands, beyond a setting
    "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "401", "403", "404", "409", "412", "422", "429"]},
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx"]},
}


_CONFIG: Final[dict[str, Any]] = {
    "checks": _CHECKS,
    "generation": {"with-security-parameters": False},  # whoever sends a request has a token, or none
}


def load_document() -> OpenApiSchema:
    """The document as it is committed, and how strictly answers are held against it."""
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    return schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(_CONFIG))


def operations(schema: OpenApiSchema) -> list[Operation]:
    """Every operation, in the document's order."""
    return [schema[path][method] for path in schema for method in schema[path]]


def operation_id(operation: Operation) -> str:
    """What the document calls an operation."""
    return str(operation.definition.raw["operationId"])


def draw(operation: Operation, count: int, *, seed_: int) -> list[AnyCase]:
    """So many requests of an operation, the same for the same seed, in an order that mixes their kinds."""
    chance = random.Random(f"{seed_} {operation.label}")  # noqa: S311  # a choice, no secret
    wanted = round(count * BOUNDS)
    bounds = list(islice(_bounds(operation), _CHOICE * wanted))  # all of them cost most of the time
    chosen = chance.sample(bounds, min(len(bounds), wanted))
    negative = _at_random(operation, GenerationMode.NEGATIVE, round(count * NEGATIVE), seed_=seed_)
    chosen += negative
    chosen += _at_random(operation, GenerationMode.POSITIVE, count - len(chosen), seed_=seed_)
    chosen += [chance.choice(chosen) for _ in range(count - len(chosen))]  # of some there are not so many
    chance.shuffle(chosen)
    return chosen


def _bounds(operation: Operation) -> Iterator[AnyCase]:
    generation = operation.schema.config.generation_for(operation=operation, phase="coverage")
    yield from operation.schema.iter_coverage_cases(
        operation, generation_modes=[GenerationMode.NEGATIVE], generation_config=generation
    )


def _at_random(operation: Operation, mode: GenerationMode, count: int, *, seed_: int) -> list[AnyCase]:
    drawn: list[AnyCase] = []
    if count == 0:
        return drawn

    @seed(seed_)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: AnyCase) -> None:
        drawn.append(case)

    with suppress(Unsatisfiable):  # where nothing is taken, nothing can be wrong
        collect()
    return drawn[:count]
