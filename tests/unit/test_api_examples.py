"""The API's description has examples of everything, which are what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs
import pytest

from api.example_description import MissingExample, describe_examples
from api.examples import ANSWERS, REQUESTS
from api.problems import MEDIA_TYPE
from sandbox.processes import ROOT

DOCUMENT: Final[dict[str, Any]] = json.loads((ROOT / "docs/openapi.json").read_text())
OPERATIONS: Final[dict[str, Any]] = {
    operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()
}


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What of a value does not fit a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [error.message for error in validator.iter_errors(value)]


def examples(media: dict[str, Any]) -> Iterator[Any]:
    """The examples of a body."""
    if "example" in media:
        yield media["example"]
    for example in media.get("examples", {}).values():
        reference = example.get("$ref", "").rsplit("/", 1)[-1]
        yield (DOCUMENT["components"]["examples"][reference] if reference else example)["value"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_sent_and_answered_has_examples_that_fit_its_schema(operation: str) -> None:
    bodies = [OPERATIONS[operation].get("requestBody", {}), *OPERATIONS[operation]["responses"].values()]

    for media in (media for body in bodies for media in body.get("content", {}).values()):
        shown = list(examples(media))
        assert shown
        assert [faults(media["schema"], example) for example in shown] == [[]] * len(shown)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_parameters_and_headers_have_schemas_that_their_examples_fit(operation: str) -> None:
    parameters = OPERATIONS[operation].get("parameters", [])
    headers = [
        header
        for answer in OPERATIONS[operation]["responses"].values()
        for header in answer.get("headers", {}).values()
    ]

    for each in (*parameters, *headers):
        shown = [*each["schema"].get("examples", []), *([each["example"]] if "example" in each else [])]
        assert [faults(each["schema"], example) for example in shown] == [[]] * len(shown)
    assert len({(parameter["name"], parameter["in"]) for parameter in parameters}) == len(parameters)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_problem_is_shown_with_its_status_and_its_type(operation: str) -> None:
    answers = OPERATIONS[operation]["responses"]

    problems = {status: answer for status, answer in answers.items() if status >= "400"}
    assert {"429", "500", "503"} <= set(problems)
    assert ("401" in problems) >= bool(OPERATIONS[operation].get("security"))
    for status, answer in problems.items():
        for example in examples(answer["content"][MEDIA_TYPE]):
            assert example["status"] == int(status)
            assert example["type"].startswith("urn:ordersaga:problem:")


def test_no_example_is_of_an_operation_that_there_is_not() -> None:
    assert set(REQUESTS) | set(ANSWERS) <= set(OPERATIONS)


def test_an_operation_without_examples_is_named() -> None:
    body: dict[str, Any] = {"content": {"application/json": {"schema": {}}}}
    new = {"operationId": "giveAway", "requestBody": body, "responses": {}}

    with pytest.raises(MissingExample, match="giveAway has no example of its request"):
        describe_examples({"paths": {"/v1/gifts": {"post": new}}, "components": {}})
