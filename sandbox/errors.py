"""What can go wrong with the embedded stack; each message is meant for the person at the terminal."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from sandbox.settings import port_setting


class StackError(Exception):
    """The embedded stack cannot start or cannot go on."""


class PortsTakenError(StackError):
    """Something else already listens on ports of the stack.

    Attributes:
        taken: listener to its port.
    """

    def __init__(self, taken: dict[str, int]) -> None:
        self.taken = taken
        lines = [
            f"Port {port}, wanted by {listener}, is taken; {port_setting(listener)} gives {listener} another one."
            for listener, port in taken.items()
        ]
        super().__init__("\n".join(lines))


class StackRunningError(StackError):
    """Another stack already uses this folder."""

    def __init__(self, var: Path) -> None:
        super().__init__(f"Another stack is running on the folder {var}: stop it first, or name another with --var.")


class ChildDiedError(StackError):
    """A process of the stack ended although nobody had asked it to.

    Attributes:
        name: the process.
        how: what became of it, such as "ended with exit code 1".
        code: its exit code; negative: the signal that ended it.
        tail: the last lines of its log.
    """

    def __init__(self, *, name: str, code: int, log: Path, tail: Sequence[str]) -> None:
        self.name = name
        self.code = code
        self.tail = tuple(tail)
        self.how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        super().__init__("\n".join([f"{name} {self.how}. The last lines of {log}:", *(f"  {line}" for line in tail)]))


class NotReadyError(StackError):
    """A process of the stack did not become ready in time.

    Attributes:
        name: the process.
        how: what became of it.
    """

    def __init__(self, *, name: str, seconds: float, log: Path, tail: Sequence[str]) -> None:
        self.name = name
        self.how = f"was not ready after {seconds:g} s"
        lines = [f"{name} {self.how}. The last lines of {log}:"]
        super().__init__("\n".join([*lines, *(f"  {line}" for line in tail)]))
