"""`ordersaga replay` on files: what it prints, and its exit code. A live order's history is in the end-to-end test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.replay.histories import NoHistory, read_history
from sandbox.processes import ROOT

RECORDED = ROOT / "tests" / "replay" / "histories" / "0.1" / "order-paid-at-once-paid.json"


def replay(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "replay", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


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

    assert result.returncode == 1
    first, why, second = result.stdout.splitlines()
    assert first == f"{diverging}: does not replay"
    assert "Nondeterminism error" in why
    assert second == f"{RECORDED}: replays"
    assert result.stderr == ""


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

    assert (result.returncode, result.stdout) == (2, f"{RECORDED}: replays\n")
    first, second, third = result.stderr.splitlines()
    assert first.startswith(f"{empty}: is no workflow history")
    assert second.startswith(f"{text}: is no workflow history")
    assert third == f"{gone}: cannot be read: No such file or directory"
