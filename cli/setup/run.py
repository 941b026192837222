"""`ordersaga setup`: each thing that the parts need from others' servers, in turn.

A step imports what it needs when it is taken: the embedded stack waits for the first one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cli.exiting import CommandFailed, ExitCode
from cli.hints import with_hint
from cli.setup import databases
from cli.setup.admin import ensure_admin
from runtime.refusal import Unavailable
from runtime.settings import Settings, SettingsError


class Step(StrEnum):
    """What can be set up."""

    DATABASES = "databases"
    TEMPORAL = "temporal"
    KAFKA = "kafka"
    STRIPE = "stripe"
    ADMIN = "admin"


def steps_of(names: Sequence[str]) -> Sequence[Step]:
    """The steps by these names.

    Raises:
        SettingsError: one of them is none.
    """
    if unknown := [name for name in names if name not in list(Step)]:
        raise SettingsError(f"there is no step {', '.join(unknown)}; these are: {', '.join(Step)}")
    return [Step(name) for name in names]


_NOTHING: Final = "nothing to do"


def run(settings: Settings, steps: Sequence[Step], *, secret_file: Path | None) -> ExitCode:
    """Take the steps, all of them without any, and print what was done, and which could not be.

    A step that fails holds up no other. A new signing secret of Stripe's goes to `secret_file`.

    Returns:
        WELL, or why the first step that failed did: FINDING when it was refused, NOT_ASKED when nobody answers.

    Raises:
        SettingsError: a setting is missing or does not fit, or the file cannot be made.
    """
    _check(secret_file)
    return asyncio.run(_run(settings, steps or list(Step), secret_file))


async def _run(settings: Settings, steps: Sequence[Step], secret_file: Path | None) -> ExitCode:
    does: dict[Step, Callable[[], Awaitable[Iterable[str]]]] = {
        Step.DATABASES: lambda: _databases(settings),
        Step.TEMPORAL: lambda: _temporal(settings),
        Step.KAFKA: lambda: _kafka(settings),
        Step.STRIPE: lambda: _stripe(settings, secret_file),
        Step.ADMIN: lambda: _admin(settings),
    }
    code = ExitCode.WELL
    for step in steps:
        try:
            lines = list(await does[step]()) or [_NOTHING]
        except (CommandFailed, Unavailable) as failure:
            for line in str(failure).splitlines():
                print(f"{step}: {line}", file=sys.stderr)
            code = code or (ExitCode.FINDING if isinstance(failure, CommandFailed) else ExitCode.NOT_ASKED)
            continue
        for line in lines:
            print(f"{step}: {line}")
    return code


async def _databases(settings: Settings) -> Iterable[str]:
    return list(databases.set_up(settings))


async def _temporal(settings: Settings) -> Iterable[str]:
    from runtime import temporal_namespace
    from runtime.temporal import TemporalAway, TemporalRefused, connect_temporal

    client = await connect_temporal(settings, lazy=True)
    try:
        return await temporal_namespace.set_up(client, retention=timedelta(seconds=settings.temporal_retention))
    except TemporalRefused as refused:
        raise CommandFailed(str(refused)) from None
    except TemporalAway as away:
        raise Unavailable(with_hint(str(away), "see ORDERSAGA_TEMPORAL_ADDRESS, or the profile")) from None


async def _kafka(settings: Settings) -> Iterable[str]:
    from runtime import kafka_topics

    try:
        return await kafka_topics.set_up(settings)
    except Unavailable as unusable:
        raise Unavailable(with_hint(str(unusable), "see ORDERSAGA_KAFKA_BOOTSTRAP")) from None


async def _stripe(settings: Settings, secret_file: Path | None) -> Iterable[str]:
    from services.payment.stripe import endpoint
    from services.payment.stripe.client import open_stripe
    from services.payment.stripe.errors import StripeRefused, StripeUnavailable

    if settings.stripe_webhook_url is None:
        return ["left alone: ORDERSAGA_STRIPE_WEBHOOK_URL is not set"]
    async with open_stripe(settings) as client:
        try:
            done = await endpoint.set_up(client, settings.stripe_webhook_url)
        except StripeRefused as refused:
            raise CommandFailed(f"Stripe: {refused}") from None
        except StripeUnavailable as away:
            hint = "see ORDERSAGA_STRIPE_API_KEY and ORDERSAGA_STRIPE_API_BASE"
            raise Unavailable(with_hint(str(away), hint)) from None
    return [*done.lines, *_keep(done.secret, secret_file)]


def _check(secret_file: Path | None) -> None:
    """See that the file can be made before Stripe shows what is to be in it, which it does once."""
    if secret_file is not None and not os.access(secret_file if secret_file.exists() else secret_file.parent, os.W_OK):
        raise SettingsError(
            f"--stripe-secret-file: {secret_file} cannot be written: there is no such folder, or no right"
        )


def _keep(secret: str | None, file: Path | None) -> Iterable[str]:
    if secret is None:
        return
    if file is None:
        yield f"its signing secret, which Stripe shows this once, for ORDERSAGA_STRIPE_WEBHOOK_SECRET: {secret}"
        return
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as kept:
        kept.write(secret)
    yield f"its signing secret is in {file}, for ORDERSAGA_STRIPE_WEBHOOK_SECRET_FILE"


async def _admin(settings: Settings) -> Iterable[str]:
    email, password = settings.admin_email, settings.admin_password
    if email is None and password is None:
        return ["left alone: neither ORDERSAGA_ADMIN_EMAIL nor ORDERSAGA_ADMIN_PASSWORD is set"]
    if email is None:
        raise SettingsError("ORDERSAGA_ADMIN_EMAIL is not set, but ORDERSAGA_ADMIN_PASSWORD is")
    if password is None:
        raise SettingsError("ORDERSAGA_ADMIN_PASSWORD is not set, but ORDERSAGA_ADMIN_EMAIL is")
    admin = await ensure_admin(settings, email=email, password=password.get_secret_value(), name=settings.admin_name)
    return [f"ready: {admin}"]
