"""Which release this is."""

from __future__ import annotations

from importlib.metadata import version

from temporalio.common import WorkerDeploymentVersion

from runtime.settings import Settings


def worker_version(settings: Settings) -> WorkerDeploymentVersion:
    """The order worker's version, as Temporal knows it: its deployment, and in it the build id."""
    return WorkerDeploymentVersion(settings.deployment_name, settings.build_id or version("ordersaga"))
