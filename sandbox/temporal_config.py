"""`temporal-dev.yaml`, typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

from sandbox.errors import StackError

CONFIG_FILE = Path(__file__).parents[1] / "temporal-dev.yaml"


class TemporalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Temporal dev server as data.

    Attributes:
        retention_hours: how long closed workflows are kept.
        search_attributes: name to type, as Temporal names its types (Keyword, Int, …).
    """

    port: int
    ui_port: int
    namespace: str
    retention_hours: int
    search_attributes: Mapping[str, str]
    sqlite_pragmas: Mapping[str, str]
    dynamic_config: Mapping[str, str | int | float | bool]

    @classmethod
    def load(cls, path: Path = CONFIG_FILE) -> TemporalConfig:
        """Read the file.

        Raises:
            StackError: a value does not fit; the message names it.
        """
        try:
            return msgspec.convert(yaml.safe_load(path.read_text()), cls)
        except (msgspec.ValidationError, yaml.YAMLError) as error:
            raise StackError(f"{path.name}: {error}") from error
