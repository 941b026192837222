"""``make bench``: see `bench.run`, which is imported late, so that Ctrl-C ends its imports without a traceback, too."""

from __future__ import annotations

from cli.exiting import run_and_exit


def _bench() -> None:
    from bench.run import main

    main()


if __name__ == "__main__":
    run_and_exit(_bench)
