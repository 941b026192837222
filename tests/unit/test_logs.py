"""What a line of the log says, and what it leaves out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from domain.ids import new_id
from sandbox.processes import ROOT

ORDER_ID = new_id()
NOT_NULL = r"""
class Full(Exception): ...
raise Full('null value in column "name"\nDETAIL:  Failing row contains (1, Ada, ada@example.test).')
"""
NO_NUMBER = """
import pydantic
class User(pydantic.BaseModel):
  age: int
User(age='ada@example.test')
"""


def logged(code: str) -> list[dict[str, Any]]:
    """The lines of a process that runs this code after `configure_logging`; `log` is a logger of ours."""
    prepared = (
        "import logging, structlog\n"
        "from runtime import work_context\n"
        "from runtime.logs import configure_logging\n"
        "configure_logging('info')\n"
        "log = structlog.stdlib.get_logger('ours')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", prepared + code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_says_for_which_component_request_and_order_it_is() -> None:
    [line] = logged(
        "work_context.component.set('order')\n"
        "work_context.request_id.set('mine')\n"
        f"work_context.set_order('{ORDER_ID}')\n"
        "log.info('order.accepted')\n"
    )

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "order.accepted",
        "level": "info",
        "logger": "ours",
        "component": "order",
        "request_id": "mine",
        "order_id": ORDER_ID,
    }


def test_what_a_line_says_by_itself_stands() -> None:
    [line] = logged(f"work_context.set_order('{ORDER_ID}')\nlog.info('moved', order_id='another')\n")

    assert line["order_id"] == "another"


def test_a_line_of_temporals_that_names_an_orders_workflow_has_its_id() -> None:
    [line] = logged(
        f"logging.getLogger('temporalio.worker').warning('Failed activation on workflow order-{ORDER_ID} and run')\n"
    )

    assert (line["order_id"], line["level"]) == (ORDER_ID, "warning")


@pytest.mark.parametrize(
    ("failing", "kept"),
    [(NOT_NULL, "null value in column"), (NO_NUMBER, "Input should be a valid integer")],
    ids=["PostgreSQL", "pydantic"],
)
def test_an_error_does_not_take_what_was_entered_into_the_log(failing: str, kept: str) -> None:
    indented = "\n".join(f"  {line}" for line in failing.splitlines())

    lines = logged(
        f"try:\n{indented}\n"
        "except Exception as error:\n"
        "  log.exception('work.failed')\n"
        "  log.warning('work.postponed', problem=str(error), error=repr(error))\n"
    )

    assert kept in lines[0]["exception"]
    assert kept in lines[1]["problem"]
    assert "left out" in json.dumps(lines[0])
    assert [line for line in lines if "ada@" in json.dumps({**line, "exception": _of_error(line)})] == []


def _of_error(line: dict[str, Any]) -> str:
    """The error's own words in a traceback, without the lines of code that it shows."""
    return str(line.get("exception", "")).rpartition("\nTraceback")[2].split('File "<string>"')[-1]


def test_a_line_of_the_core_of_temporals_sdk_is_a_line_of_the_log() -> None:
    [line] = logged(
        "from types import SimpleNamespace\n"
        "from runtime.temporal_logs import core_logging\n"
        "text = SimpleNamespace(level=30, target='worker', message='slow', time=1.0,\n"
        f"                       fields={{'workflow_id': 'order-{ORDER_ID}'}})\n"
        "core_logging().forwarding._on_logs([text])\n"
    )

    assert (line["logger"], line["level"], line["order_id"]) == ("temporalio.core", "warning", ORDER_ID)
