"""What each command asks Temporal for, and the exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from temporalio.service import RPCStatusCode

from cli.deployment.report import findings, print_versions
from runtime.settings import Settings, SettingsError
from runtime.temporal import TemporalAway, TemporalRefused, connect_temporal
from runtime.temporal_deployment import Deployment, Version

WELL = 0
FINDING = 1
NOT_ASKED = 3

Command = Callable[[Deployment], Awaitable[int]]


def run(command: Command) -> int:
    """Run a command against the deployment that the settings name.

    Returns:
        The exit code: 0 when all is well, 1 when something is to be done, 3 when Temporal could not be asked.

    Raises:
        SettingsError: a setting does not fit, or there is no such version.
    """
    settings = Settings.load()

    async def ask() -> int:
        client = await connect_temporal(settings, lazy=True)
        deployment = Deployment(client, settings.deployment_name, task_queue=settings.temporal_task_queue)
        try:
            return await command(deployment)
        except TemporalAway as away:
            print(f"{away}; see ORDERSAGA_TEMPORAL_ADDRESS, or the profile", file=sys.stderr)
        except TemporalRefused as refused:
            print(str(refused), file=sys.stderr)
            if refused.status is RPCStatusCode.FAILED_PRECONDITION:
                return FINDING
        return NOT_ASKED

    return asyncio.run(ask())


def show(*, as_json: bool) -> Command:
    """Print every version, and what is wrong with one."""

    async def command(deployment: Deployment) -> int:
        return _print(await deployment.versions(), as_json=as_json)

    return command


def set_current(build_id: str, *, as_json: bool) -> Command:
    """Give all new orders to a version."""

    async def command(deployment: Deployment) -> int:
        _find(build_id, await deployment.versions())
        await deployment.set_current(build_id)
        return _print(await deployment.versions(), as_json=as_json)

    return command


def ramp(build_id: str, percentage: float, *, as_json: bool) -> Command:
    """Give a share of the new orders to a version."""

    async def command(deployment: Deployment) -> int:
        _find(build_id, await deployment.versions())
        await deployment.ramp(build_id, percentage)
        return _print(await deployment.versions(), as_json=as_json)

    return command


def drain(build_id: str, *, to: str | None, as_json: bool) -> Command:
    """See a version off: move what is pinned to it, if that is asked for, and forget it once nothing is left on it."""

    async def command(deployment: Deployment) -> int:
        versions = await deployment.versions()
        leaving = _find(build_id, versions)
        if leaving.percentage:
            raise SettingsError(f"version {build_id} gets new orders; `ordersaga deployment current` another one first")
        if to is not None:
            await _move(deployment, build_id, _find(to, versions).build_id)
        elif not leaving.open and not leaving.workers:
            await _delete(deployment, build_id)
        versions = await deployment.versions()
        _print(versions, as_json=as_json)
        return FINDING if any(version.build_id == build_id for version in versions) else WELL

    return command


async def _move(deployment: Deployment, leaving: str, to: str) -> None:
    for workflow_id, run_id in await deployment.open_workflows(leaving):
        try:
            await deployment.move(workflow_id, run_id, to)
        except TemporalRefused as refused:
            if refused.status is not RPCStatusCode.NOT_FOUND:  # it has ended since
                raise
        else:
            print(f"{workflow_id}: moved to {to}", file=sys.stderr)


async def _delete(deployment: Deployment, build_id: str) -> None:
    try:
        await deployment.delete(build_id)
    except TemporalRefused as refused:
        if refused.status is not RPCStatusCode.FAILED_PRECONDITION:
            raise
        print(f"version {build_id} stays for now: {refused}", file=sys.stderr)


def _find(build_id: str, versions: Sequence[Version]) -> Version:
    for version in versions:
        if version.build_id == build_id:
            return version
    known = ", ".join(version.build_id for version in versions) or "none: no worker has asked for work yet"
    raise SettingsError(f"there is no version {build_id}; these are: {known}")


def _print(versions: Sequence[Version], *, as_json: bool) -> int:
    print_versions(versions, as_json=as_json)
    wrong = findings(versions)
    for line in wrong:
        print(line, file=sys.stderr)
    return FINDING if wrong else WELL
