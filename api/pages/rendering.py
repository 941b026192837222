"""The pages as HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from api.pages.problems import pages

_QUOTED: Final = re.compile(r"`([^`]+)`")


@cache
def render(page: str) -> bytes:
    """The page of this name: reference, guide or problems."""
    values: dict[str, Any] = {"here": page}
    if page == "problems":
        values["pages"] = pages()
    return _environment().get_template(f"{page}.html").render(values).encode()


@cache
def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("api.pages"), autoescape=True, undefined=StrictUndefined)
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """The text, in which what stands between backticks is code."""
    return Markup(_QUOTED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before
