"""`ordersaga doctor`: parts and installation, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cli.doctor import installation
from cli.doctor.finding import Finding
from cli.doctor.parts import examine_part
from cli.serve import OPTIONAL, PARTS
from runtime.logs import configure_logging
from runtime.settings import Settings, SettingsError

_QUIET = "critical"


def examine(settings: Settings, names: Sequence[str]) -> list[Finding]:
    """What is found at these parts; at all of them, and the installation, without any.

    Raises:
        SettingsError: there is no such part.
    """
    configure_logging(_QUIET)  # what goes wrong is in the findings
    return asyncio.run(look(settings, names))


async def look(settings: Settings, names: Sequence[str]) -> list[Finding]:
    """As `examine`."""
    every = (*PARTS, installation.NAME)
    known = (*every, *OPTIONAL)
    if unknown := [name for name in names if name not in known]:
        raise SettingsError(f"there is no part {', '.join(unknown)}; these are: {', '.join(known)}")
    findings: list[Finding] = []
    for name in names or every:
        is_part = name != installation.NAME
        findings += await (examine_part(name, settings) if is_part else installation.examine_installation(settings))
    return findings
