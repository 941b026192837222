from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from sandbox.ports import Ports, address
from sandbox.temporal import Temporal
from sandbox.temporal_config import TemporalConfig


@pytest.fixture
def ports() -> Ports:
    return Ports.free()


@pytest.fixture
def server(tmp_path: Path, ports: Ports) -> Temporal:
    return Temporal(
        config=TemporalConfig.load(),
        database=tmp_path / "temporal.db",
        port=ports.temporal,
        ui_port=ports.temporal_ui,
        log=tmp_path / "temporal.log",
    )


@pytest.fixture
async def client(server: Temporal, ports: Ports) -> AsyncIterator[Client]:
    await server.start()
    yield await Client.connect(address(ports.temporal))
    await server.stop()


ATTRIBUTES = TypedSearchAttributes(
    [
        SearchAttributePair(SearchAttributeKey.for_keyword("OrderStatus"), "PENDING"),
        SearchAttributePair(SearchAttributeKey.for_keyword("CustomerId"), "c1"),
        SearchAttributePair(SearchAttributeKey.for_int("OrderTotal"), 4999),
        SearchAttributePair(SearchAttributeKey.for_keyword("OrderAttention"), "none"),
    ]
)


async def _start_workflow(client: Client) -> str:
    workflow_id = f"order-{uuid.uuid4()}"
    await client.start_workflow("NobodyRunsThis", id=workflow_id, task_queue="nobody", search_attributes=ATTRIBUTES)
    return workflow_id


async def test_a_started_server_takes_our_search_attributes_at_once(client: Client) -> None:
    workflow_id = await _start_workflow(client)

    description = await client.get_workflow_handle(workflow_id).describe()
    assert description.typed_search_attributes[SearchAttributeKey.for_int("OrderTotal")] == 4999


async def test_closed_workflows_are_kept_for_30_days(client: Client) -> None:
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))

    assert answer.config.workflow_execution_retention_ttl.ToTimedelta() == timedelta(days=30)


async def test_a_second_start_on_the_same_file_has_the_workflows_and_takes_the_attributes(
    server: Temporal, client: Client
) -> None:
    first = await _start_workflow(client)
    await server.stop()

    await server.start()

    second = await _start_workflow(client)
    for workflow_id in (first, second):
        await client.get_workflow_handle(workflow_id).describe()


async def test_a_start_that_ended_before_the_tables_were_made_does_not_spoil_the_next_one(
    server: Temporal, ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end_early(self: Temporal) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Temporal, "_set_up", end_early)
        with pytest.raises(InterruptedError):
            await server.start()
    for file in tmp_path.glob("temporal.db-*"):
        file.unlink()
    (tmp_path / "temporal.db").write_bytes(b"")  # which is what SQLite begins with

    await server.start()

    await _start_workflow(await Client.connect(address(ports.temporal)))
    await server.stop()
