"""How a command's process ends: with what exit code, and at once.

Temporal's SDK can abort a process whose interpreter is taken down.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


def run_and_exit(command: Callable[[], object]) -> NoReturn:
    """Run a command, and end with its exit code, which an abort would change."""
    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def exit_on_wrong_setting() -> Iterator[None]:
    """Around every command: a wrong setting is named, exit 2."""
    from runtime.settings import SettingsError

    try:
        yield
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
