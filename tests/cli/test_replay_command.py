"""`ordersaga replay` on files: what it prints, and its exit code. A live order's history is in the end-to-end test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.replay.histories import NoHistory, read_history
from sandbox.ports import free_port
from sandbox.processes import ROOT
from tests.support.command import ordersaga

RECORDED = ROOT / "tests" / "replay" / "histories" / "0.1" / "order-paid-at-once-paid.json"


def replay(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    return ordersaga("replay", *map(str, arguments), environment={**os.environ, **settings})


@pytest.fixture
def diverging(tmp_path: Path) -> Path:
    history = json.loads(RECORDED.read_text())
    markers = [event for event in history["events"] if event["eventType"] == "EVENT_TYPE_MARKER_RECORDED"]
    history["events"].remove(markers[0])
    for number, event in enumerate(history["events"], start=1):
        event["eventId"] = str(number)
    file = tmp_path / "diverging.json"
    file.write_text(json.dumps(history))
    return file


def test_a_history_that_diverges_is_told_in_words_and_the_others_are_replayed_too(diverging: Path) -> None:
    result = replay(diverging, RECORDED)

    assert (result.returncode, result.stderr) == (1, "")
    first, difference, _, summary = result.stdout.splitlines()
    assert first == f"{diverging}: does not replay"
    assert difference == "  event 5: the workflow runs the step `reserve`; here the code runs the step `quote`"
    assert summary == "2 histories, 1 replay, 1 does not replay"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no JSON",
        "\udcff",
        "[" * 100_000,
        "{}",
        "[]",
        '{"events": 7}',
        '{"events": []}',
        '{"events": [7]}',
        '{"events": [{"eventId": "1", "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"}]}',
        '{"events": [{"eventId": "1", "eventType": "EVENT_TYPE_MARKER_RECORDED"}]}',
    ],
    ids=lambda content: content[:40].encode("ascii", "backslashreplace").decode() or "nothing",
)
def test_what_is_no_history_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "notes.json"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")

    with pytest.raises(NoHistory, match=r"^is no workflow history"):
        read_history(file)


def test_files_that_are_no_histories_are_named_and_the_others_are_replayed(tmp_path: Path) -> None:
    empty, text, gone = (tmp_path / name for name in ("empty.json", "text.json", "gone.json"))
    empty.write_text("{}")
    text.write_text("no JSON")

    result = replay(empty, text, gone, RECORDED)

    assert (result.returncode, result.stdout) == (2, "1 history, 1 replay\n")
    first, second, third = result.stderr.splitlines()
    assert first.startswith(f"{empty}: is no workflow history")
    assert second.startswith(f"{text}: is no workflow history")
    assert third == f"{gone}: cannot be read: No such file or directory"


def test_a_folder_is_replayed_with_what_is_in_it_in_several_processes(tmp_path: Path, diverging: Path) -> None:
    for number in range(101):  # more than two batches
        shutil.copy(RECORDED, tmp_path / f"{number}.json")

    result = replay(tmp_path, "--jobs", 2, "--json")

    assert (result.returncode, result.stderr) == (1, "")
    outcomes = {Path(outcome["name"]): outcome for outcome in json.loads(result.stdout)}
    assert len(outcomes) == 102
    assert [path for path, outcome in outcomes.items() if not outcome["is_good"]] == [diverging]
    assert (outcomes[diverging]["verdict"], outcomes[diverging]["event_id"]) == ("does not replay", 5)


def test_a_folder_without_histories_is_no_proof(tmp_path: Path) -> None:
    result = replay(tmp_path)

    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"{tmp_path}: holds no *.json\n")


def test_neither_files_nor_a_query_or_both_are_refused() -> None:
    for arguments in ([], [RECORDED, "--query", "WorkflowType='OrderSaga'"]):
        result = replay(*arguments)

        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == "give files and folders, or --query, one of the two\n"


def test_a_query_that_nobody_answers_exits_3_in_one_line() -> None:
    result = replay("--query", "WorkflowType='OrderSaga'", ORDERSAGA_TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")

    assert (result.returncode, result.stdout) == (3, "")
    [line] = result.stderr.splitlines()
    assert line == "Temporal: no connection: Connection refused; see ORDERSAGA_TEMPORAL_ADDRESS, or the profile"
