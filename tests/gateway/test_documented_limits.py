"""Who asks too often is answered as the API's description says, of every operation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.edge import Edge
from domain.ids import new_id
from domain.rate_limits import Limit, Rate
from runtime.caller import CallerRole
from sandbox.processes import ROOT
from tests.support.gateway import Gateway, open_gateway
from tests.support.identities import bearer
from tests.support.recorded_sagas import RecordedSagas

DOCUMENT: Final[dict[str, Any]] = json.loads((ROOT / "docs/openapi.json").read_text())
SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS: Final = {
    operation["operationId"]: (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
CHECKS: Final = [
    *(status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]


@pytest_asyncio.fixture(scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    once = Edge(rates=dict.fromkeys(Limit, Rate(1, 3_600)))
    async with open_gateway({}, RecordedSagas(), once) as gateway:
        yield gateway


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("role", [None, CallerRole.CUSTOMER, CallerRole.SUPPORT, CallerRole.ADMIN])
async def test_too_many_requests_are_refused_as_the_document_says(
    gateway: Gateway, operation: str, role: CallerRole | None
) -> None:
    method, path = OPERATIONS[operation]
    asked = SCHEMA[path][method]
    case = asked.Case(path_parameters={parameter.name: new_id() for parameter in asked.path_parameters})
    headers = {} if role is None else bearer(role)

    answer, _ = [await gateway.http.request(method, case.formatted_path, headers=headers) for _ in range(2)][::-1]

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert {"ratelimit", "ratelimit-policy"} <= set(answer.headers)
    case.validate_response(answer, checks=CHECKS)
