from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox.child import Child, Command
from sandbox.errors import ChildDiedError, NotReadyError

READY = """
    import os, signal, socket
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    signal.pause()
"""
NEVER_READY = "import signal; signal.pause()"
FAIL = 'import sys; print("cannot go on"); sys.exit(7)'
IGNORES_SIGTERM = """
    import os, signal, socket
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    while True:
        signal.pause()
"""
HELD = 'import sys; sys.stdin.read(); print("released")'
PARENT = """
    import asyncio, sys
    from pathlib import Path
    from sandbox.child import Child, Command

    async def main():
        child = await Child.start(Command(
            name="orphan", arguments=["sleep", "60"], log=Path(sys.argv[1]) / "orphan.log",
            environment={"PATH": "/usr/bin:/bin"}, folder=Path("/"),
        ))
        print(child.pid, flush=True)
        await child.wait()

    asyncio.run(main())
"""


def _command(folder: Path, code: str, *arguments: str, grace: float = 5.0, held: bool = False) -> Command:
    return Command(
        name="shop",
        arguments=[sys.executable, "-c", textwrap.dedent(code), *arguments],
        log=folder / "shop.log",
        environment={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        folder=folder,
        grace=grace,
        held=held,
    )


async def test_a_child_that_reports_so_is_ready_and_stops_when_asked(tmp_path: Path) -> None:
    child = await Child.start(_command(tmp_path, READY), notify_socket=tmp_path / "n")

    await child.wait_until_ready(within=30)
    await child.stop()

    assert await child.wait() == -signal.SIGTERM


async def test_a_child_that_dies_before_it_is_ready_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = await Child.start(_command(tmp_path, FAIL), notify_socket=tmp_path / "n")

    with pytest.raises(ChildDiedError, match="shop ended with exit code 7") as caught:
        await child.wait_until_ready(within=30)
    await child.stop()

    assert caught.value.code == 7
    assert caught.value.tail == ("cannot go on",)


async def test_a_child_that_is_not_ready_in_time_is_reported(tmp_path: Path) -> None:
    child = await Child.start(_command(tmp_path, NEVER_READY), notify_socket=tmp_path / "n")

    with pytest.raises(NotReadyError, match=r"not ready after 0\.05 s"):
        await child.wait_until_ready(within=0.05)

    await child.stop()


async def test_a_child_that_ignores_the_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = await Child.start(_command(tmp_path, IGNORES_SIGTERM, grace=0.1), notify_socket=tmp_path / "n")
    await child.wait_until_ready(within=30)

    await child.stop()

    assert await child.wait() == -signal.SIGKILL


async def test_a_held_child_waits_until_it_is_released(tmp_path: Path) -> None:
    child = await Child.start(_command(tmp_path, HELD, held=True))
    assert child.tail() == []

    child.release()

    assert await child.wait() == 0
    assert child.tail() == ["released"]
    await child.stop()


async def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent = await Child.start(_command(tmp_path, PARENT, str(tmp_path)))
    orphan_end = os.pidfd_open(await parent.wait_for(_first_line_as_pid(parent), within=30))

    os.kill(parent.pid, signal.SIGKILL)

    assert await parent.wait() == -signal.SIGKILL
    await _until_readable(orphan_end)  # a pidfd is readable once its process has ended
    os.close(orphan_end)
    await parent.stop()


async def _first_line_as_pid(child: Child) -> int:
    while True:
        if child.tail():
            return int(child.tail()[0])
        await asyncio.sleep(0.01)


async def _until_readable(descriptor: int) -> None:
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), 10)
    finally:
        loop.remove_reader(descriptor)
