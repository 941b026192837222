"""The settings of a command that runs beside the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.settings import Settings


def quiet_settings() -> Settings:
    """The settings of a command that runs beside the parts: what goes wrong it says itself, and our logs are silent.

    Raises:
        SettingsError: one does not fit.
    """
    from runtime.logs import configure_logging
    from runtime.settings import Settings

    configure_logging("critical")
    return Settings.load()
