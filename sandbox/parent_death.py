"""Becomes another command, which then gets a signal when the process that started it dies.

``python -I -S parent_death.py PARENT SIGNAL OWNER COMMAND…``: PARENT is the starter's pid, SIGNAL a number, OWNER
``uid:gid`` to become that user, or ``-``. A program of its own, standard library only, because code between fork and
exec is not safe in a process with threads, and the supervisor's clients have some.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, stop: signal.Signals, owner: str, command: list[str]) -> None:
    """Take the owner's identity, request the signal, become the command."""
    if owner != "-":
        uid, gid = map(int, owner.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    for number in (stop, signal.SIGPIPE, signal.SIGXFSZ):  # ignored by a shell for its background jobs, or by Python
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop)
    if os.getppid() != parent:  # it died before the signal was requested
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - becoming the given command is what this is for


if __name__ == "__main__":
    main(int(sys.argv[1]), signal.Signals(int(sys.argv[2])), sys.argv[3], sys.argv[4:])
