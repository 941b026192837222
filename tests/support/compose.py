"""deploy/compose.yaml, its anchors merged and its variables as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from sandbox.processes import ROOT

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final[Mapping[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Final[Mapping[str, Any]] = COMPOSE["services"]
