"""The commands of people on call, as typer has them; each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exiting import ExitCode
from cli.quiet_settings import quiet_settings

if TYPE_CHECKING:
    from cli.on_call.actions import Act
    from domain.concerns import ConcernKind

on_call = typer.Typer()

Ids = Annotated[list[str] | None, typer.Argument(help="As `ordersaga attention` shows them.")]
Orders = Annotated[list[str] | None, typer.Argument(help="Ids or numbers of orders.")]
Matching = Annotated[
    str | None,
    typer.Option("--query", help="All that need a person and match: kind=order step=reserve cause=timeout older=5m."),
]
Note = Annotated[str, typer.Option(help="Why; kept with the action.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@on_call.command()
def attention(
    query: Annotated[str, typer.Option(help="Only what matches: kind=order step=reserve cause=timeout older=5m.")] = "",
    show_all: Annotated[bool, typer.Option("--all", help="Also all that is alike.")] = False,
    json: AsJson = False,
) -> None:
    """Show all that needs a person: since when, why, what happens by itself, and what to do. Exit 1 if something does.

    The settings name an operator's certificate, as those of all commands do that follow.
    """
    import asyncio

    from cli.on_call.attention import print_attention

    if not asyncio.run(print_attention(quiet_settings(), query, show_all=show_all, as_json=json)):
        raise typer.Exit(ExitCode.FINDING)


@on_call.command()
def order(
    order_id: Annotated[str, typer.Argument(metavar="ORDER", help="Its id, or its number, such as 7KQ2-M9XD.")],
    json: AsJson = False,
) -> None:
    """Show all that is known of an order: lines, payment, stock, mails, events, its workflow, and what happened when.

    Exit 1 when there is no such order, 3 when a service did not answer.
    """
    import asyncio

    from cli.on_call.order_page import print_order

    if not asyncio.run(print_order(quiet_settings(), order_id, as_json=json)):
        raise typer.Exit(ExitCode.NOT_ASKED)


@on_call.command()
def retry(
    ids: Ids = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Let what stands still run again at once: a step of an order, refund or dispute, an event of Stripe's, a mail.

    Says what came of it. Exit 1 unless all got through.
    """
    from cli.on_call import actions

    _act("retry", actions.retry(note), ids, query, kinds=actions.DECIDABLE, dry_run=dry_run, as_json=json)


@on_call.command()
def resolve(
    ids: Ids = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Say that a person did by hand what stands still: a parked undo, a failed refund, a flagged event, a mail."""
    from cli.on_call import actions

    _act("resolve", actions.resolve(note), ids, query, kinds=actions.DECIDABLE, dry_run=dry_run, as_json=json)


@on_call.command()
def repair(
    orders: Orders = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Start the sagas of orders again whose workflow is gone, or was ended from outside; all of them without any id.

    A saga that starts again asks how far the order came and goes on from there; one whose order is closed only makes
    sure that money and stock follow.
    """
    from cli.on_call import actions
    from domain.concerns import WORKFLOW_STEP

    if not orders and query is None:
        query = f"kind=order step={WORKFLOW_STEP}"
    _act("repair", actions.repair(note), orders, query, dry_run=dry_run, as_json=json)


@on_call.command()
def cancel(
    orders: Orders = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Cancel orders that nobody has paid: payment closed, stock given back. Exit 1 unless all are CANCELLED."""
    from cli.on_call import actions

    _act("cancel", actions.cancel(note), orders, query, dry_run=dry_run, as_json=json)


@on_call.command()
def refund(
    orders: Orders = None,
    amount: Annotated[str | None, typer.Option(help="In the order's currency, such as 12.50; else all.")] = None,
    restock: Annotated[bool, typer.Option("--restock", help="Put the order's units back into stock, too.")] = False,
    key: Annotated[str | None, typer.Option(help="Names the refund: the same one again, or another one.")] = None,
    query: Matching = None,
    note: Note = "",
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Give the money of orders back. Repeatable for a day: the same amount again is the same refund, unless --key
    names another.

    Exit 1 unless all succeeded by now.
    """
    from cli.on_call import actions

    act = actions.refund(note, amount=amount, restock=restock, key=key)
    _act("refund", act, orders, query, dry_run=dry_run, as_json=json)


@on_call.command(name="approve-refund")
def approve_refund(
    order: Annotated[str, typer.Argument(help="Its id, or its number, such as 7KQ2-M9XD.")],
    amount: Annotated[str, typer.Argument(help="In the order's currency, such as 12.50: the refund at most.")],
    key: Annotated[str | None, typer.Option(help="Names the approval: the same one again, or another one.")] = None,
    note: Note = "",
    json: AsJson = False,
) -> None:
    """Let somebody else make one refund of an order, within a day, that is too large for one person alone.

    Repeatable: the same amount again is the same approval, unless --key names another. Exit 1 unless it can be used.
    """
    from cli.on_call import actions

    act = actions.approve_refund(note, amount=amount, key=key)
    _act("approve a refund of", act, [order], None, dry_run=False, as_json=json)


def _act(
    name: str,
    act: Act,
    ids: list[str] | None,
    query: str | None,
    *,
    kinds: Sequence[ConcernKind] = (),
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run an action of an operator's; exit 1 when something was refused or waits, 3 when nobody answered."""
    import asyncio

    from cli.on_call.actions import Request, State, run
    from domain.concerns import ConcernKind

    request = Request(
        name=name,
        act=act,
        ids=ids or (),
        query=query,
        kinds=kinds or (ConcernKind.ORDER,),
        dry_run=dry_run,
        as_json=as_json,
    )
    states = {result.state for result in asyncio.run(run(quiet_settings(), request))}
    if State.UNKNOWN in states:
        raise typer.Exit(ExitCode.NOT_ASKED)
    if states - {State.DONE}:
        raise typer.Exit(ExitCode.FINDING)
