"""Bad input over HTTP, to every operation that the OpenAPI document has: a 4xx that names the field, nothing changed.

The cases are generated (`tests/input_table.py`), so that a new route has its own by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final, cast

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.services import Services
from runtime.caller import CallerRole
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.identities import VERIFIER, bearer, forged_bearer
from tests.support.input_table import Case, InputTable, Token, is_secured
from tests.support.input_values import Kind
from tests.support.rows import Rows, counting_rows

# the document needs no services; a request would
APP: Final = create_app(cast("Services", None), VERIFIER)
TABLE: Final = InputTable(APP.openapi_schema.to_schema())
HAVE_TESTS_OF_THEIR_OWN: Final = {"receiveStripeEvent"}
"""Stripe's event is signed raw bytes, which the document does not describe: test_gateway_webhooks has its cases."""
CASES: Final = [case for case in TABLE.cases() if case.operation not in HAVE_TESTS_OF_THEIR_OWN]


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def rows(databases: Mapping[str, str]) -> Iterator[Rows]:
    with counting_rows(databases) as count:
        yield count


def authorization(token: Token) -> dict[str, str]:
    """The header by which somebody asks."""
    match token:
        case Token.CUSTOMER:
            return bearer(CallerRole.CUSTOMER)
        case Token.ADMIN:
            return bearer(CallerRole.ADMIN)
        case Token.EXPIRED:
            return bearer(CallerRole.ADMIN, ttl=-60)
        case Token.FORGED:
            return forged_bearer()
        case Token.GARBAGE:
            return {"Authorization": "Bearer a.b.c"}
        case Token.NOBODY:
            return {}


async def send(gateway: Gateway, case: Case) -> httpx.Response:
    return await gateway.http.request(
        case.method,
        case.path,
        params=case.query or None,
        headers={**authorization(case.token), **case.headers},
        content=case.content,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_bad_input_is_refused_by_name_and_changes_nothing(gateway: Gateway, rows: Rows, case: Case) -> None:
    before = rows()

    response = await send(gateway, case)

    assert response.status_code in case.statuses, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"].startswith("urn:ordersaga:problem:")
    named = {violation["field"] for violation in problem.get("errors", [])}
    assert named == (set() if case.field is None else {case.field})
    assert rows() == before


def test_every_operation_that_takes_input_has_cases() -> None:
    covered = {case.operation for case in CASES}

    assert set(TABLE.operations) - covered == HAVE_TESTS_OF_THEIR_OWN


def test_every_bound_of_the_document_has_its_case() -> None:
    covered = {(case.operation, case.field, case.kind) for case in CASES}

    bounds = list(TABLE.bounds())

    assert len(bounds) > len(TABLE.operations)
    assert [bound for bound in bounds if (bound.operation, bound.field, bound.kind) not in covered] == []


def test_every_secured_operation_is_asked_without_a_token_and_every_one_of_staff_by_a_customer() -> None:
    without = {case.operation for case in CASES if case.kind is Kind.NO_TOKEN}
    by_a_customer = {case.operation for case in CASES if case.kind is Kind.WRONG_ROLE}

    operations = {name: operation for name, (_, _, operation) in TABLE.operations.items()}

    assert without == {name for name, operation in operations.items() if is_secured(operation)}
    # a list of orders is everybody's; what only admins may ask of it has tests of its own
    assert by_a_customer == {
        name
        for name, operation in operations.items()
        if any(words in operation.get("description", "") for words in ("Admins only", "Staff only"))
    }
