"""The Temporal namespace that ours run in: what it has to have, whether it has that, and how it gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from domain.saga import (
    CUSTOMER_ID_ATTRIBUTE,
    ORDER_ATTENTION_ATTRIBUTE,
    ORDER_STATUS_ATTRIBUTE,
    ORDER_TOTAL_ATTRIBUTE,
)
from runtime.health import NotSetUp
from runtime.temporal import RPC_TIMEOUT, TemporalAway, TemporalRefused, ask_temporal

Answer = TypeVar("Answer")

SEARCH_ATTRIBUTES: Final = {
    ORDER_STATUS_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    CUSTOMER_ID_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_ATTENTION_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_TOTAL_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}
"""What workflows are found by."""
_TYPE_NAMES: Final = {
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD: "Keyword",
    IndexedValueType.INDEXED_VALUE_TYPE_INT: "Int",
}
_NOT_OURS: Final = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)
"""How Temporal Cloud answers who asks for a namespace's search attributes, or would change it."""
_KNOWN_WITHIN: Final = 60.0
"""Seconds until every front end knows a new namespace, and its search attributes: they look every ten."""


async def find_problem(client: Client) -> str | None:
    """Why it cannot be used, in words: it is away, or lacks the namespace or the search attributes that ours need."""
    namespace = client.namespace
    try:
        await _describe(client)
        missing = await _missing_attributes(client)
    except TemporalRefused as refused:
        if refused.status in _NOT_OURS:
            return None
        if refused.status is RPCStatusCode.NOT_FOUND:
            return NotSetUp(f"Temporal has no namespace {namespace}; run `ordersaga setup temporal`")
        return str(refused)
    except TemporalAway as away:
        return str(away)
    if missing:
        names = ", ".join(missing)
        return NotSetUp(f"namespace {namespace} lacks search attributes: {names}; run `ordersaga setup temporal`")
    return None


async def find_short_retention(client: Client, *, least: timedelta) -> str | None:
    """Whether closed workflows are forgotten too soon, in words, or why that cannot be asked."""
    try:
        kept = _retention(await _describe(client))
    except (TemporalRefused, TemporalAway) as error:
        return f"cannot be asked: {error}"
    if kept >= least:
        return None
    return (
        f"namespace {client.namespace} forgets workflows {_days(kept)} after they closed, and is to keep them "
        f"{_days(least)}; run `ordersaga setup temporal`, or {_command(client, 'update', least)}"
    )


async def set_up(client: Client, *, retention: timedelta) -> Iterator[str]:
    """Give the server what `find_problem` looks for, and closed workflows at least this `retention`. Repeatable.

    Returns:
        what was done, or has to be done by somebody who may, line by line.

    Raises:
        TemporalAway: repeat.
        TemporalRefused: the server takes no part of it, which the message says.
    """
    return filter(None, [await _set_up_namespace(client, retention), await _set_up_attributes(client)])


async def _set_up_namespace(client: Client, retention: timedelta) -> str | None:
    namespace, service = client.namespace, client.workflow_service
    period = Duration(seconds=int(retention.total_seconds()))
    try:
        kept = _retention(await _describe(client))
    except TemporalRefused as refused:
        if refused.status is not RPCStatusCode.NOT_FOUND:
            raise
        made = RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=period)
        if await _may(lambda: service.register_namespace(made, timeout=RPC_TIMEOUT)):
            return f"namespace {namespace} made"
        return f"have somebody who may make the namespace: {_command(client, 'create', retention)}"
    if kept >= retention:
        return None
    changed = UpdateNamespaceRequest(
        namespace=namespace, config=NamespaceConfig(workflow_execution_retention_ttl=period)
    )
    if await _may(lambda: service.update_namespace(changed, timeout=RPC_TIMEOUT)):
        return f"namespace {namespace} keeps closed workflows {_days(retention)}, not {_days(kept)}"
    return f"have somebody who may prolong its retention: {_command(client, 'update', retention)}"


async def _set_up_attributes(client: Client) -> str | None:
    missing = await _once_known(lambda: _missing_attributes(client))
    if missing is None:
        return f"have somebody who may see to it that there are our search attributes: {_attributes_command(client)}"
    if not missing:
        return None
    added = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
    add = partial(client.operator_service.add_search_attributes, added, timeout=RPC_TIMEOUT)
    if await _once_known(lambda: ask_temporal(add)) is None:
        return f"have somebody who may add search attributes: {_attributes_command(client)}"
    return f"search attributes added: {', '.join(missing)}"


async def _once_known(call: Callable[[], Awaitable[Answer]]) -> Answer | None:
    """Its answer, once the front end knows a namespace that was just made; None where it is not ours to ask."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + _KNOWN_WITHIN
    while True:
        try:
            return await call()
        except TemporalRefused as refused:
            if refused.status in _NOT_OURS:
                return None
            if refused.status is not RPCStatusCode.NOT_FOUND or loop.time() > ends_at:
                raise
        await asyncio.sleep(0.5)


async def _may(change: Callable[[], Awaitable[object]]) -> bool:
    """Make a change; false where it is not ours to make."""
    try:
        await ask_temporal(change)
    except TemporalRefused as refused:
        if refused.status not in _NOT_OURS:
            raise
        return False
    return True


async def _describe(client: Client) -> DescribeNamespaceResponse:
    asked = DescribeNamespaceRequest(namespace=client.namespace)
    return await ask_temporal(lambda: client.workflow_service.describe_namespace(asked, timeout=RPC_TIMEOUT))


async def _missing_attributes(client: Client) -> Mapping[str, IndexedValueType.ValueType]:
    asked = ListSearchAttributesRequest(namespace=client.namespace)
    answer = await ask_temporal(lambda: client.operator_service.list_search_attributes(asked, timeout=RPC_TIMEOUT))
    known = answer.custom_attributes
    return {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if known.get(name) != kind}


def _retention(description: DescribeNamespaceResponse) -> timedelta:
    return timedelta(seconds=description.config.workflow_execution_retention_ttl.seconds)


def _command(client: Client, action: str, retention: timedelta) -> str:
    hours = retention // timedelta(hours=1)
    return f"temporal operator namespace {action} --namespace {client.namespace} --retention {hours}h"


def _attributes_command(client: Client) -> str:
    wanted = " ".join(f"--name {name} --type {_TYPE_NAMES[kind]}" for name, kind in SEARCH_ATTRIBUTES.items())
    return f"temporal operator search-attribute create --namespace {client.namespace} {wanted}"


def _days(period: timedelta) -> str:
    return f"{period / timedelta(days=1):g} days"
