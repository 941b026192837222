"""Entity tags (RFC 9110, section 8.8.3): a version number in quotes, and the headers that ask for one."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

import msgspec

from runtime.validation import Violations

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_EACH = re.compile(_TAG)
WRITTEN: Final = rf"^([ \t]*\*[ \t]*|{_LIST.pattern})$"
"""What If-Match may be, as a regular expression: any, or a list of tags."""
_OURS = re.compile(r'"([1-9][0-9]{0,17})"')

_NO_VERSION = 0
"""Stands for tags that no version has: weak ones, which If-Match never matches, and those that are none of ours."""


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def expected_versions(if_match: str | None, violations: Violations) -> list[int]:
    """The versions, one of which an If-Match header demands; empty when any will do."""
    if if_match is None or if_match.strip() == "*":
        return []
    if not _LIST.fullmatch(if_match):
        violations.add("If-Match", 'must be * or entity tags in quotes, for example "3"')
        return []
    return [_version(tag) for tag in _EACH.findall(if_match)]


def is_known(tag: str, if_none_match: str) -> bool:
    """Whether an If-None-Match header says that the client has what bears this tag; one that is none says nothing.

    Weak tags count as well.
    """
    if not tag:
        return False
    if if_none_match.strip() == "*":
        return True
    if not _LIST.fullmatch(if_none_match):
        return False
    return tag.removeprefix("W/") in (each.removeprefix("W/") for each in _EACH.findall(if_none_match))


def content_etag(body: msgspec.Struct) -> str:
    """The entity tag of what has no version: a digest of its JSON.

    It is weak: it stands for what the body says, however that is encoded or compressed on its way.
    """
    return f'W/"{blake2b(msgspec.json.encode(body), digest_size=12).hexdigest()}"'


def _version(tag: str) -> int:
    match = _OURS.fullmatch(tag)
    return _NO_VERSION if match is None else int(match[1])
