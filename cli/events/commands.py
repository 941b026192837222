"""`ordersaga events …`. Commands import what they need when they run."""

from __future__ import annotations

from typing import Annotated

import typer

events = typer.Typer(help="Events that go through Kafka.", no_args_is_help=True)


@events.command()
def tail(
    topics: Annotated[
        list[str] | None, typer.Argument(help="order-events, …, order-events.dlq; all of ours without any.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Only what is about the order of this id or number; its stock, too.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only records with this key.")] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type: order.paid, refund*.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From when on: 10m, 2h, 2026-11-30T03:00 (UTC), beginning; else what comes.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more once all that is there is shown.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show events as they come: a line each, and what it says.

    It joins no consumer group, so that it takes nothing from anybody. Ctrl-C ends it.

    Exit 0 after --limit or with --no-follow, 130 after Ctrl-C, 2 when a setting does not fit,
    3 when Kafka cannot be asked.
    """
    import asyncio
    from datetime import UTC, datetime

    from cli.events.record import Wanted
    from cli.events.since import parse_since
    from cli.events.tail import Tail, run
    from cli.on_call.references import find_id
    from runtime.settings import Settings

    settings = Settings.load()
    if order is not None:
        order = asyncio.run(find_id(settings, order))
    shown = Tail(
        topics=topics or (),
        wanted=Wanted(order=order, key=key, types=kinds or ()),
        since=None if since is None else parse_since(since, now=datetime.now(UTC)),
        limit=limit,
        follow=follow,
        as_json=json,
    )
    raise typer.Exit(run(settings, shown))
