"""Probes of a process: ready means that its parts can do their job, and a stop is announced before it happens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from runtime.health import Check, Checks, Health, NotSetUp, ask, seldom
from runtime.probes import probe_server
from runtime.settings import Settings, SettingsError
from sandbox.ports import free_port


def saying(problem: str | None) -> Check:
    async def check() -> str | None:
        return problem

    return check


def started(**needs: str | None) -> Health:
    return watching(Checks(needs={name: saying(problem) for name, problem in needs.items()}))


def watching(checks: Checks) -> Health:
    health = Health()
    health.watch(checks)
    health.has_started = True
    return health


@asynccontextmanager
async def probes(**parts: Health) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    async with (
        probe_server(Settings(probe_port=port), parts),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield http


async def test_a_process_whose_parts_have_what_they_need_is_ready() -> None:
    async with probes(order=started(database=None), relay=started()) as http:
        answer = await http.get("/readyz")

    part = {"ready": True, "problems": {}, "degraded": {}}
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "parts": {"order": part, "relay": part}})


async def test_one_part_that_lacks_what_it_needs_makes_it_unready_and_is_named() -> None:
    async with probes(order=started(database="it is away"), relay=started()) as http:
        answer = await http.get("/readyz")
        alive = await http.get("/livez")

    assert (answer.status_code, alive.status_code) == (503, 200)
    assert answer.json()["parts"]["order"]["problems"] == {"database": "it is away"}
    assert answer.json()["parts"]["relay"]["ready"]


async def test_what_a_part_can_do_without_is_named_and_keeps_it_ready() -> None:
    checks = Checks(needs={"database": saying(None)}, uses={"temporal": saying("it is away")})
    async with probes(order=watching(checks)) as http:
        answer = await http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["parts"]["order"]["degraded"] == {"temporal": "it is away"}


async def test_what_was_never_set_up_makes_it_unready_even_if_it_could_do_without() -> None:
    checks = Checks(uses={"temporal": saying(NotSetUp("it has no namespace")), "kafka": saying("it is away")})

    report = await watching(checks).report()

    assert (report.ready, report.problems, report.degraded) == (
        False,
        {"temporal": "it has no namespace"},
        {"kafka": "it is away"},
    )


async def test_what_is_seldom_asked_gives_its_answer_again_until_the_interval_is_over() -> None:
    answers = iter(["it is away", None])

    async def check() -> str | None:
        return next(answers)

    patient, eager = seldom(check, interval=3_600), seldom(check, interval=0)

    assert [await patient(), await patient(), await eager()] == ["it is away", "it is away", None]


async def test_what_is_seldom_asked_and_was_cut_off_is_not_asked_again_at_once() -> None:
    asked = 0

    async def hangs() -> str | None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return None

    checks = Checks(uses={"stripe": seldom(hangs, interval=3_600)})
    first, second = [await ask(checks.uses, within=0.01) for _ in range(2)]

    assert (asked, first, second) == (
        1,
        {"stripe": "no answer within 0 s"},
        {"stripe": "it did not answer in time"},
    )


async def test_who_asks_while_a_seldom_check_is_being_made_gets_the_answer_before_it() -> None:
    may_answer = asyncio.Event()

    async def slow() -> str | None:
        await may_answer.wait()
        return "it is away"

    check = seldom(slow, interval=3_600)
    first = asyncio.ensure_future(check())
    await asyncio.sleep(0)
    meanwhile = await check()
    may_answer.set()

    assert (meanwhile, await first, await check()) == (None, "it is away", "it is away")


async def test_a_seldom_check_that_breaks_is_made_again() -> None:
    async def breaks() -> str | None:
        raise SettingsError("ORDERSAGA_STRIPE_API_KEY is not set")

    checks = {"stripe": seldom(breaks, interval=3_600)}
    answers = [await ask(checks), await ask(checks)]

    assert answers == [{"stripe": "ORDERSAGA_STRIPE_API_KEY is not set"}] * 2


async def test_a_setting_that_does_not_fit_is_a_problem_in_its_own_words() -> None:
    async def check() -> str | None:
        raise SettingsError("ORDERSAGA_KAFKA_CA_FILE: nowhere cannot be used")

    assert await ask({"kafka": check}) == {"kafka": "ORDERSAGA_KAFKA_CA_FILE: nowhere cannot be used"}


async def test_it_is_not_ready_before_it_has_started_nor_when_it_stops() -> None:
    health = Health()
    async with probes(order=health) as http:
        before = await http.get("/readyz")
        health.has_started = True
        meanwhile = await http.get("/readyz")
        health.is_stopping = True
        after = await http.get("/readyz")

    assert [answer.status_code for answer in (before, meanwhile, after)] == [503, 200, 503]
    assert before.json()["parts"]["order"]["problems"] == {"process": "it starts"}
    assert after.json()["parts"]["order"]["problems"] == {"process": "it stops"}


async def test_a_check_that_breaks_or_never_answers_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.health.CHECK_SECONDS", 0.05)

    async def breaks() -> str | None:
        raise KeyError("x")

    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    health = watching(Checks(needs={"one": breaks, "other": hangs}))

    assert (await health.report()).problems == {"one": "KeyError: 'x'", "other": "no answer within 0 s"}


async def test_who_asks_often_costs_no_more() -> None:
    asked = 0

    async def count() -> str | None:
        nonlocal asked
        asked += 1
        return None

    health = watching(Checks(needs={"database": count}))
    await asyncio.gather(*(health.report() for _ in range(20)))

    assert asked == 1


async def test_metrics_are_there_and_nothing_else_is() -> None:
    async with probes(order=started()) as http:
        metrics = await http.get("/metrics")
        nothing = await http.get("/v1/orders")

    assert (metrics.status_code, nothing.status_code) == (200, 404)
    assert "ordersaga_outbox_lag_seconds" in metrics.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_g12_head_asks_as_get_does_and_other_methods_are_named(path: str) -> None:
    async with probes(order=started()) as http:
        head, options, post = await http.head(path), await http.options(path), await http.post(path)

    assert [answer.status_code for answer in (head, options, post)] == [200, 204, 405]
    assert [answer.content for answer in (head, options, post)] == [b"", b"", b""]
    assert options.headers["allow"] == post.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(probe_port=taken.getsockname()[1])

        with pytest.raises(SettingsError, match="ORDERSAGA_PROBE_PORT: cannot listen on"):
            async with probe_server(settings, {}):
                pass


async def test_without_a_port_nobody_listens() -> None:
    async with probe_server(Settings(), {"order": Health()}):
        pass
