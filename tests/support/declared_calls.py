"""Who may call whom, as the services' methods say (`runtime.permissions.allow`)."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module

from cli.serve import OPTIONAL
from migrations.runner import SERVICES


@cache
def declared_calls() -> frozenset[tuple[str, str]]:
    """Pairs of a part and the service that it may call."""
    return frozenset(
        (permission.part.value, service)
        for service in SERVICES
        for _, servicer in inspect.getmembers(import_module(f"services.{service}.server"), inspect.isclass)
        for _, method in inspect.getmembers(servicer, inspect.isfunction)
        for permission in getattr(method, "__permissions__", ())
    )


def calls_of_every_installation() -> frozenset[tuple[str, str]]:
    """The same without the parts that an installation may have besides."""
    return frozenset(pair for pair in declared_calls() if pair[0] not in OPTIONAL)
