"""A flood of requests at a steady rate, from a process of its own: `python -m tests.support.flood`, a plan on stdin.

It costs as little as it can: requests are written as bytes, and of answers only the head is looked at. A request goes
out when it is due, on a connection that waits for no answer, or else on a new one; so what is slow holds up nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, Final

from sandbox.processes import ROOT

_KEY: Final = "{key}"
"""Stands in a request for a number that no other has."""
_LIMIT: Final = ("retry-after", "ratelimit", "ratelimit-policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent again and again."""

    path: str
    headers: Mapping[str, str]
    body: str

    def encode(self, number: int, host: str) -> bytes:
        """Its bytes, for the so-manieth time."""
        body = self.body.replace(_KEY, str(number)).encode()
        headers = {"host": host, "content-type": "application/json", "content-length": str(len(body)), **self.headers}
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"POST {self.path} HTTP/1.1\r\n{''.join(lines)}\r\n"
        return head.replace(_KEY, str(number)).encode() + body


@dataclass(slots=True)
class Outcome:
    """What became of a flood: requests by status, and the 429s that do not say when to come again."""

    sent: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    unexplained: int = 0


async def flood(port: int, requests: Sequence[Request], *, rate: float, seconds: float) -> Outcome:
    """Send so many in each second, in turn."""
    outcome, statuses = Outcome(), Counter[str]()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    running: set[asyncio.Task[None]] = set()

    async def send(data: bytes) -> None:
        try:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            await reader.readexactly(int(lines["content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            statuses["closed"] += 1
            return
        status = head.split(" ", 2)[1]
        statuses[status] += 1
        outcome.unexplained += status == "429" and not all(name in lines for name in _LIMIT)
        if lines.get("connection") == "close":
            writer.close()
        else:
            idle.append((reader, writer))

    loop = asyncio.get_running_loop()
    began = loop.time()
    turns: Iterator[int] = count()
    while (now := loop.time() - began) < seconds:
        while outcome.sent < now * rate:
            number = next(turns)
            data = requests[number % len(requests)].encode(number, f"127.0.0.1:{port}")
            running.add(task := asyncio.create_task(send(data)))
            task.add_done_callback(running.discard)
            outcome.sent += 1
        await asyncio.sleep(1 / rate)
    outcome.seconds = loop.time() - began
    if running:
        await asyncio.wait(running, timeout=30)
    statuses["unanswered"] += len(running)
    outcome.statuses = {status: number for status, number in statuses.items() if number}
    return outcome


class Flooder:
    """A flood that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.outcome = Outcome()

    async def end(self) -> None:
        """Wait for its end, and know what became of it."""
        output, _ = await self._process.communicate()
        assert self._process.returncode == 0
        self.outcome = Outcome(**json.loads(output))


@asynccontextmanager
async def flooding(port: int, requests: Sequence[Request], *, rate: float, seconds: float) -> AsyncIterator[Flooder]:
    """The flood, in its own process, from when it begins; after the context its outcome is known."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.flood"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    plan = {"port": port, "rate": rate, "seconds": seconds, "requests": [asdict(each) for each in requests]}
    process.stdin.write(json.dumps(plan).encode() + b"\n")
    flooder = Flooder(process)
    try:
        assert await process.stdout.readline() == b"begins\n"
        yield flooder
    finally:
        await flooder.end()


def _main() -> None:
    plan: dict[str, Any] = json.loads(sys.stdin.readline())
    requests = [Request(**each) for each in plan.pop("requests")]
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(asdict(asyncio.run(flood(requests=requests, **plan)))))


if __name__ == "__main__":
    _main()
