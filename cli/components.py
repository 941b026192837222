"""`python -m cli.components <component> [<component> …]`: run components of Ordersaga together in one process.

With `--held` the process imports them, then waits for the end of its standard input before it runs them: the embedded
stack overlaps the imports with the start of the servers that they need.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from runtime.process import ComponentRunner, run_process

COMPONENTS: Final = {
    "user": "services.user.server:run",
    "product": "services.product.server:run",
    "inventory": "services.inventory.server:run",
    "order": "services.order.server:run",
    "payment": "services.payment.server:run",
    "notification": "services.notification.server:run",
    "relay": "workers.relay.process:run",
    "gateway": "api.server:run",
    "order-worker": "workers.order_worker:run",
    "stripe-double": "sandbox.stripe.server:run",
    "mail-sink": "sandbox.mail.server:run",
}
"""Component to the function that runs it; imported only when named, so that a process carries what it runs."""


def main(arguments: Sequence[str]) -> None:
    """Run the named components until the process is asked to stop; exits with 2 for a name that is none."""
    parser = argparse.ArgumentParser(
        prog="python -m cli.components", description="Run components of Ordersaga in one process."
    )
    parser.add_argument("--held", action="store_true", help="run them once standard input has ended")
    parser.add_argument("components", nargs="+", choices=COMPONENTS, metavar="component", help=", ".join(COMPONENTS))
    options = parser.parse_args(arguments)
    runners = {name: _load(COMPONENTS[name]) for name in options.components}
    if options.held:
        sys.stdin.read()
    run_process(runners)


def _load(place: str) -> ComponentRunner:
    module, function = place.split(":")
    runner: ComponentRunner = getattr(importlib.import_module(module), function)
    return runner


if __name__ == "__main__":
    main(sys.argv[1:])
