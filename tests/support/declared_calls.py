"""Who may call whom, as the services' methods say (`runtime.permissions.allow`)."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module

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
