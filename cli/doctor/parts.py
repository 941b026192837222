"""What one part looks at, wired as the part itself wires it, without its doing any work."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType

from cli.doctor.finding import Finding, State, found
from domain.saga import payment_queue
from runtime.health import Checks, ask
from runtime.identity import Credentials, Part
from runtime.release import worker_version
from runtime.settings import Settings, SettingsError
from runtime.temporal import TemporalAway, TemporalRefused, connect_temporal
from runtime.temporal_deployment import Deployment
from runtime.tokens import TokenVerifier

_SECONDS: Final = 15.0
"""What each look gets: longer than a probe's, since here somebody waits for the cause."""
_RENEW: Final = timedelta(days=7)
_ACT_FOR_NO_USER: Final = ("order-worker", "relay")


async def examine_part(part: str, settings: Settings) -> Sequence[Finding]:
    """All that this part needs and uses, and its settings and certificate."""
    try:
        findings = [] if part == "relay" else [_examine_certificate(part, settings)]
        async with _open_checks(part, settings) as checks:
            looked_at = {**checks.needs, **checks.uses}
            problems = await ask(looked_at, within=_SECONDS)
    except SettingsError as error:
        return [Finding(part, "settings", State.WRONG, line) for line in str(error).splitlines()]
    findings.insert(0, Finding(part, "settings", State.OK))
    findings += [found(part, name, _with_setting(part, name, problems.get(name))) for name in looked_at]
    if part == "order-worker" and "temporal" not in problems:
        findings += [await _examine_version(settings), await _examine_workers(settings)]
    return findings


def _with_setting(part: str, name: str, problem: str | None) -> str | None:
    """The problem, with the setting that says where the thing is, unless it tells already what mends it."""
    if problem is None or "ORDERSAGA_" in problem or "`ordersaga " in problem:
        return problem
    what, _, of = name.partition(" ")
    match what:
        case "database":
            return f"{problem}; see {'ORDERSAGA_RELAY_DSNS' if of else f'ORDERSAGA_{part.upper()}_DSN'}"
        case "temporal":
            return f"{problem}; see ORDERSAGA_TEMPORAL_ADDRESS, or the profile"
        case "kafka":
            return f"{problem}; see ORDERSAGA_KAFKA_BOOTSTRAP"
        case "stripe":
            return f"{problem}; see ORDERSAGA_STRIPE_API_BASE"
        case _:
            return f"{problem}; is `ordersaga serve {name}` running, and ORDERSAGA_{name.upper()}_ADDRESS where it is?"


@asynccontextmanager
async def _open_checks(part: str, settings: Settings) -> AsyncIterator[Checks]:
    if part not in _ACT_FOR_NO_USER:
        TokenVerifier(settings.required("jwt_public_keys"))
    match part:
        case "gateway":
            from api.services import open_services

            async with open_services(settings) as services:
                yield Checks(uses=services.health)
        case "order-worker":
            from workers.order_worker import open_checks

            async with open_checks(settings) as checks:
                yield checks
        case "relay":
            from workers.relay.process import checks_of

            yield checks_of(settings)
        case "codec-server":
            from runtime.temporal_codec import payload_codec
            from workers.codec.users import open_users

            payload_codec(settings)
            async with open_users(settings) as user_side:
                yield Checks(uses={"user": user_side.is_serving})
        case _:
            bootstrap = importlib.import_module(f"services.{part}.bootstrap").bootstrap
            async with bootstrap(settings) as components:
                yield components.checks


async def _examine_version(settings: Settings) -> Finding:
    """Whether order workers of this version get new orders: one that does not may be on its way in, or out."""
    own, client = worker_version(settings), await connect_temporal(settings, lazy=True)
    deployment = Deployment(client, own.deployment_name, task_queue=settings.temporal_task_queue)
    part, check = "order-worker", "version"
    try:
        info = await deployment.find()
    except (TemporalAway, TemporalRefused) as error:
        return Finding(part, check, State.SKIPPED, f"cannot be asked: {error}")
    if info is None:
        return Finding(part, check, State.SKIPPED, "no order worker has asked for work yet")
    routing = info.routing_config
    current = routing.current_deployment_version.build_id
    if own.build_id in (current, routing.ramping_deployment_version.build_id):
        return Finding(part, check, State.OK)
    return Finding(
        part,
        check,
        State.ADVICE,
        f"version {own.build_id} gets no new orders, {current or 'none'} does: `ordersaga deployment current "
        f"{own.build_id}`, or `ordersaga deployment drain {own.build_id}`",
    )


async def _examine_workers(settings: Settings) -> Finding:
    """Whether order workers of this version ask for tasks of both task queues: none do before the first is started."""
    own, client = worker_version(settings), await connect_temporal(settings, lazy=True)
    queue = settings.temporal_task_queue
    deployment = Deployment(client, own.deployment_name, task_queue=queue)
    part, check = "order-worker", "workers"
    asked_for = (
        (queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
        (queue, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
        (payment_queue(queue), TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
    )
    try:
        workers = [(await deployment.workers(queue, kind)).get(own.build_id, 0) for queue, kind in asked_for]
    except (TemporalAway, TemporalRefused) as error:
        return Finding(part, check, State.SKIPPED, f"cannot be asked: {error}")
    idle = dict.fromkeys(queue for (queue, _), count in zip(asked_for, workers, strict=True) if not count)
    if not idle:
        return Finding(part, check, State.OK)
    return Finding(
        part,
        check,
        State.ADVICE,
        f"no order worker of version {own.build_id} asks for tasks of {' and '.join(idle)}: start one, or see its log",
    )


def _examine_certificate(part: str, settings: Settings) -> Finding:
    expires_at = Credentials.of(settings, Part(part)).pem.expires_at
    left = expires_at - datetime.now(UTC)
    if left < _RENEW:
        when = f"{expires_at:%Y-%m-%d %H:%M} UTC"
        return found(part, "certificate", f"it expires at {when}: put a new one into ORDERSAGA_TLS_CERTIFICATE_FILE")
    return Finding(part, "certificate", State.OK)
