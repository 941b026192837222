"""Who may call whom, as the services' methods say (`runtime.permissions.allow`)."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module

from cli.serve import PARTS
from migrations.runner import SERVICES
from runtime.on_call import OnCallServicer


@cache
def declared_calls() -> frozenset[tuple[str, str]]:
    """Pairs of a caller, which may be a person, and another part, a service, that it may call."""
    return frozenset(
        (permission.part.value, service)
        for service in SERVICES
        for servicer in (*_classes(service), OnCallServicer)
        for _, method in inspect.getmembers(servicer, inspect.isfunction)
        for permission in getattr(method, "__permissions__", ())
        if permission.part.value != service
    )


def calls_of_every_installation() -> frozenset[tuple[str, str]]:
    """The same without people, and without the parts that an installation may have besides."""
    return frozenset(pair for pair in declared_calls() if pair[0] in PARTS)


def _classes(service: str) -> list[type]:
    return [found for _, found in inspect.getmembers(import_module(f"services.{service}.server"), inspect.isclass)]
