"""The list of all settings, as a page: made from `runtime.settings`, so that it is never older than they are."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from runtime.part_settings import SETTINGS, parts_of
from runtime.settings import Settings

_TITLE = """# Settings

Each is an environment variable. A secret may be in a file instead, which the variable's name with `_FILE` names. One
that is empty counts as not set. `make settings` writes this page; `ordersaga settings` prints it.
"""


def to_markdown() -> str:
    """The page: a table per part, and what each setting is for."""
    return "\n".join([_TITLE, *_parts(), "## What each is for\n", *_settings()]) + "\n"


def _parts() -> Iterator[str]:
    yield "## By part\n"
    yield "| part | its settings, without `ORDERSAGA_` |\n|---|---|"
    for part, names in SETTINGS.items():
        yield f"| `{part}` | {', '.join(f'`{name.upper()}`' for name in sorted(names))} |"
    yield ""


def _settings() -> Iterator[str]:
    yield "| setting | default | what it is | read by |\n|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        description = (field.description or "").replace("|", "\\|")
        yield f"| `ORDERSAGA_{name.upper()}` | {_default(field)} | {description} | {', '.join(parts_of(name))} |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if "SecretStr" in repr(field.annotation):
        return "secret"
    return "" if value is None else f"`{value if isinstance(value, str) else repr(value).replace(chr(39), chr(34))}`"
