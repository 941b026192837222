"""Texts that do harm where they are taken for more than text, or shown as what they are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LONE_SURROGATE: Final = "<lone surrogate>"
"""Stands for half a character, which JSON can escape and UTF-8 has no bytes for."""

HOSTILE: Final[Mapping[str, str]] = {
    "10 kB": "x" * 10_000,
    "NUL": "Ada\x00Byron",
    "BEL": "Ada\x07Byron",
    "ESC": "Ada\x1b[31mByron",
    "DEL": "Ada\x7fByron",
    "C1": "Ada\x9b31mByron",
    "CR LF": "Ada\r\nBcc: everybody@example.test\r\n\r\nByron",
    "line separator": "Ada\u2028Byron",
    "bidi override": "Ada\u202eByron",
    "bidi isolate": "Ada\u2066Byron",
    "zero width space": "Ada\u200bByron",
    "zero width joiner": "Ada\u200dByron",
    "byte order mark": "\ufeffAda Byron",
    "tag characters": "Ada\U000e0041Byron",
    "combining marks": "Ada" + "\u0351\u0489" * 20 + "Byron",
    "noncharacter": "Ada\uffffByron",
    "noncharacter beyond": "Ada\U0001fffeByron",
    "private use": "Ada\ue000Byron",
    "lone surrogate": LONE_SURROGATE,
    "script": "<script>alert(1)</script>",
    "markup": "\"'><img src=x onerror=alert(1)>&lt;b&gt;",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}%(x)s",
    "SQL": "'; DROP TABLE orders; --",
    "terminal markup": "[red]Ada[/red]",
}
ONLY_TEXT: Final = frozenset({"10 kB", "script", "markup", "template", "SQL", "terminal markup"})
"""Ugly, and nothing but text: it may be refused, and what takes it shows just this."""
