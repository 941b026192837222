"""What is being worked at, for every line of the log: by which component, for which request of whom, at which order.

Tasks inherit it. Whoever takes up a piece of work sets it, and nobody else has to pass it on.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from domain.ids import is_id, new_id
from domain.saga import order_workflow_id

REQUEST_ID_HEADER: Final = "x-request-id"
"""Name of the header, and key of the gRPC metadata, in which a request's id travels."""

component: Final[ContextVar[str]] = ContextVar("component", default="")
"""Which component of its process works, such as ``order``."""
request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The id of the client's request that is being answered."""
client: Final[ContextVar[str]] = ContextVar("client", default="")
"""The network that the request came from, which is no person: an address would be one."""
order_id: Final[ContextVar[str]] = ContextVar("order_id", default="")

_LOGGED: Final = (component, request_id, client, order_id)
_SANE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{0,127}")
_WORKFLOW_PREFIX: Final = order_workflow_id("")
_ORDER_WORKFLOW: Final = re.compile(rf"\b{_WORKFLOW_PREFIX}([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\b")


def choose_request_id(given: str) -> str:
    """The client's own id of its request, or a new one where that is missing, too long, or could garble a log."""
    return given if _SANE.fullmatch(given) else new_id()


def set_order(named: object) -> bool:
    """Note at which order is worked.

    Args:
        named: its id, or what has it as its ``order_id``, such as a request; or the id of its workflow.

    Returns:
        False, and nothing is noted, if no order is named.
    """
    found = named if isinstance(named, str) else getattr(named, "order_id", None)
    if not isinstance(found, str) or not is_id(found := found.removeprefix(_WORKFLOW_PREFIX)):
        return False
    order_id.set(found)
    return True


def add_to_line(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let a line of the log say it; what the line says by itself stands. A processor of structlog's."""
    for variable in _LOGGED:
        if value := variable.get():
            line.setdefault(variable.name, value)
    return line


def add_order_of_workflow(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let a line of Temporal's SDK, which names workflows in its text, name the order, too."""
    found = _ORDER_WORKFLOW.search(str(line.get("event", "")))
    if found is not None:
        line.setdefault("order_id", found[1])
    return line
