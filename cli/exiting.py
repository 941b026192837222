"""How a command ends: its exit code, and one line in place of a traceback for whatever can be foreseen.

The process ends at once, since Temporal's SDK can abort one whose interpreter is taken down.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn

import typer


class ExitCode(IntEnum):
    """What a command's exit code tells a script.

    Attributes:
        WELL: all is well.
        FINDING: something was found that is not well, or what was asked for did not come about.
        USAGE: the command line or a setting does not fit; nothing was done.
        NOT_ASKED: somebody who had to be asked does not answer: it is not known how things are.
        DEFECT: our own code failed in a way that nobody has foreseen; the traceback says where.
        INTERRUPTED: Ctrl-C.
    """

    WELL = 0
    FINDING = 1
    USAGE = 2
    NOT_ASKED = 3
    DEFECT = 70
    INTERRUPTED = 128 + signal.SIGINT


class CommandFailed(Exception):
    """What a command was to bring about did not come about, or what it looked at is not well; the message says what."""


def run_and_exit(command: Callable[[], object]) -> NoReturn:
    """Run a command, and end with its exit code, which an abort would change."""
    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.__context__, typer.Abort):  # Ctrl-C where something is asked for, of which it has told
            code = ExitCode.INTERRUPTED
        elif code == ExitCode.INTERRUPTED:
            print("Interrupted.", file=sys.stderr)
    except BaseException as error:  # the border of the process: whatever it was becomes an exit code
        code = _report(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _report(error: BaseException) -> int:
    """Say what went wrong, and answer with the exit code."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    known = _known(error)
    if known is None:
        traceback.print_exception(error)
        return ExitCode.DEFECT
    code, text = known
    print(text, file=sys.stderr)
    return code


def _known(error: BaseException) -> tuple[int, str] | None:
    """Exit code and words for a failure that was foreseen. Imported here, so that `--help` answers at once."""
    from runtime.refusal import Unavailable
    from runtime.settings import SettingsError
    from sandbox.errors import PortsTakenError, StackError, StackRunningError
    from sandbox.signals import SignalledError

    match error:
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED, "Interrupted."
        case SignalledError():
            return 128 + error.number, "Interrupted." if error.number == signal.SIGINT else f"Ended by {error}."
        case SettingsError() | PortsTakenError() | StackRunningError():
            return ExitCode.USAGE, str(error)
        case OSError() if isinstance(error.filename, str | os.PathLike):
            return ExitCode.USAGE, f"{error.filename}: {error.strerror}"
        case CommandFailed() | StackError():
            return ExitCode.FINDING, str(error)
        case Unavailable():
            return ExitCode.NOT_ASKED, str(error)
        case _:
            return _of_outside(error)


def _of_outside(error: BaseException) -> tuple[int, str] | None:
    """The same for what a library says of a server that does not answer."""
    import psycopg
    from aiokafka.errors import KafkaError
    from temporalio.service import RPCError

    match error:
        case psycopg.OperationalError():
            return ExitCode.NOT_ASKED, f"the database does not answer: {' '.join(str(error).split())}"
        case KafkaError():
            return ExitCode.NOT_ASKED, f"Kafka does not answer: {error}"
        case RPCError():
            return ExitCode.NOT_ASKED, f"Temporal: {error.status.name}: {error.message}"
        case _:
            return None
