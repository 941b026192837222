"""The audit: read, look, and look again after the grace at whatever did not agree."""

from __future__ import annotations

import asyncio
from typing import Final

from cli.audit.facts import Breach, Facts
from cli.audit.invariants import GRACE, find_breaches
from cli.audit.read import read_facts
from runtime.refusal import Unavailable
from runtime.settings import Settings

LOOK_AGAIN: Final = 0.5
"""Seconds between looks at what did not agree."""


async def audit(settings: Settings) -> tuple[Facts, list[Breach]]:
    """As `examine`, of facts that are complete.

    Raises:
        SettingsError: a setting is missing or does not fit.
        Unavailable: a source could not be read; one line for each says why.
    """
    facts, breaches = await examine(settings)
    if facts.unread:
        raise Unavailable("\n".join(facts.unread.values()))
    return facts, breaches


async def examine(settings: Settings) -> tuple[Facts, list[Breach]]:
    """Read what can be read, and answer with what does not agree, and still does not when the grace is over.

    A breach counts only if it stays, with the same row versions: work in flight is none. What could not be read is in
    the facts' `unread`, and is not asked again.

    Raises:
        SettingsError: a setting is missing or does not fit.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE.total_seconds()
    facts = await read_facts(settings)
    suspects = set(find_breaches(facts))
    while suspects and loop.time() < deadline:
        await asyncio.sleep(LOOK_AGAIN)
        facts = await read_facts(settings, given_up=facts.unread)
        suspects &= set(find_breaches(facts))
    return facts, sorted(suspects, key=lambda breach: (breach.invariant, breach.subject))
