"""The `ordersaga deployment` commands."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.exiting import exit_on_wrong_setting

deployment = typer.Typer(
    help="Versions of the order worker: which gets new orders, what still runs on which.\n\n"
    "Exit 0 when all is well, 1 when something is to be done, 2 when a setting or version does not fit, 3 when "
    "Temporal could not be asked.",
    no_args_is_help=True,
)

BuildId = Annotated[str, typer.Argument(metavar="VERSION", help="Build id, as `ordersaga deployment show` lists it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")]


@deployment.command("show")
def show_deployment(json: AsJson = False) -> None:
    """Show each version: its share of new orders, its workers, and the open workflows on it."""
    with exit_on_wrong_setting():
        from cli.deployment.run import run, show

        raise typer.Exit(run(show(as_json=json)))


@deployment.command("current")
def set_current_version(build_id: BuildId, json: AsJson = False) -> None:
    """Give all new orders to a version, and end a ramp. Orders that wait stay with theirs."""
    with exit_on_wrong_setting():
        from cli.deployment.run import run, set_current

        raise typer.Exit(run(set_current(build_id, as_json=json)))


@deployment.command("ramp")
def ramp_version(
    build_id: BuildId,
    percentage: Annotated[float, typer.Argument(min=0, max=100, help="Of new orders; 0 ends the ramp.")],
    json: AsJson = False,
) -> None:
    """Give a share of the new orders to a version; the current one keeps the rest."""
    with exit_on_wrong_setting():
        from cli.deployment.run import ramp, run

        raise typer.Exit(run(ramp(build_id, percentage, as_json=json)))


@deployment.command("drain")
def drain_version(
    build_id: BuildId,
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Move its open workflows there, once their histories replay there."),
    ] = None,
    json: AsJson = False,
) -> None:
    """See a version off that gets no new orders: exit 1 as long as there is anything left of it.

    Once its orders are closed and its workers stopped, it is forgotten.
    """
    with exit_on_wrong_setting():
        from cli.deployment.run import drain, run

        raise typer.Exit(run(drain(build_id, to=to, as_json=json)))
