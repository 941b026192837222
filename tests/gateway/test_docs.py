"""The pages for people who program against the API: under a policy that runs no text as a script, and never stale."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from api import problems
from api.app import create_app
from api.pages.problems import TEXTS, MissingPage, pages, to_markdown
from api.problems import Kind
from api.services import Services
from domain.refusals import Refusal
from tests.support.gateway import Gateway, gateway_without_services
from tests.support.identities import VERIFIER

PAGES = ["/docs", "/docs/guide", "/docs/problems"]
ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with gateway_without_services() as gateway:
        yield gateway


class Page(HTMLParser):
    """What of a page its policy has a say in, and what it links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self._tag = tag
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        self.links |= {value for name in ("src", "href") if (value := given.get(name))}
        self.anchors |= {value for value in (given.get("id"),) if value}

    def handle_data(self, data: str) -> None:
        if self._tag in ("script", "style") and data.strip():
            self.inline.append(f"{self._tag}: {data}")

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


@pytest.mark.parametrize("path", PAGES)
async def test_g11_a_page_has_nothing_inline_and_a_policy_that_would_run_none(gateway: Gateway, path: str) -> None:
    answer = await gateway.http.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert Page(answer.text).inline == []
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_loads_or_links_here_is_here(gateway: Gateway, path: str) -> None:
    links = Page((await gateway.http.get(path)).text).links

    for link in links:
        if link.startswith("/"):
            answer = await gateway.http.get(link)
            assert answer.status_code == 200, link
            assert answer.headers["x-content-type-options"] == "nosniff"
        else:
            assert link.startswith(("https://", "#")), link
    assert {"/docs", "/docs/guide", "/docs/problems", "/docs/openapi.json"} <= links


async def test_the_reference_shows_the_document_as_it_is(gateway: Gateway) -> None:
    document = (await gateway.http.get("/docs/openapi.json")).json()
    script = (await gateway.http.get("/docs/assets/docs.js")).text
    bundle = (await gateway.http.get("/docs/assets/swagger-ui-bundle.js")).text

    assert document["openapi"].startswith("3.1.")
    assert 'url: "/docs/openapi.json"' in script
    assert "SwaggerUIBundle" in bundle


async def test_the_guide_names_what_there_is(gateway: Gateway) -> None:
    text = (await gateway.http.get("/docs/guide")).text
    document: dict[str, Any] = create_app(cast("Services", None), VERIFIER).openapi_schema.to_schema()

    named = set(re.findall(r"(GET|POST|PATCH|DELETE) (/[\w/{}-]+)", text))
    curled = set(re.findall(r"curl \$SHOP(/[\w/]+)", text))

    assert {"/v1/users", "/v1/auth/token", "/v1/orders"} == curled
    assert len(named) >= 5
    for method, path in {*named, *(("POST", path) for path in curled)}:
        assert method.lower() in document["paths"][path], f"{method} {path}"


async def test_every_problem_has_its_place_on_the_page(gateway: Gateway) -> None:
    page = Page((await gateway.http.get("/docs/problems")).text)

    kinds = {kind.name for kind in vars(problems).values() if isinstance(kind, Kind)}
    assert kinds <= page.anchors
    assert {"too-many-requests", "head-too-large", "too-many-connections"} <= page.anchors


def test_no_text_is_of_a_problem_that_there_is_not() -> None:
    assert {page.name for page in pages()} == set(TEXTS)


def test_every_refusal_that_reaches_a_client_is_explained() -> None:
    names = {page.name for page in pages()}

    for refusal in Refusal:
        if (kind := problems._BY_REFUSAL.get(refusal)) is not None:
            assert kind.name in names


def test_a_kind_without_a_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "NEW", Kind(418, "teapot", "It is a teapot"), raising=False)

    with pytest.raises(MissingPage, match="teapot has no text"):
        pages()


def test_the_document_of_problems_is_up_to_date() -> None:
    assert (ROOT / "docs" / "problems.md").read_text() == to_markdown(), "make problems"
