"""`ordersaga dlq …`. Commands import what they need when they run."""

from __future__ import annotations

from typing import Annotated

import typer

dlq = typer.Typer(help="Dead letters: records that a consumer of ours refused.", no_args_is_help=True)

Letters = Annotated[list[str], typer.Argument(help="Ids of dead letters, topic/partition/offset, as `list` has them.")]
Note = Annotated[str, typer.Option(help="Why; kept with your name.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@dlq.command("list")
def list_dead_letters(
    everything: Annotated[bool, typer.Option("--all", help="Those that somebody was done with, too.")] = False,
    json: AsJson = False,
) -> None:
    """List the dead letters that wait for a person, the oldest first.

    Exit 0 when there is none, 1 when there are some, 2 when a setting does not fit,
    3 when the notification service cannot be asked.
    """
    from cli.dlq.run import list_letters
    from runtime.settings import Settings

    raise typer.Exit(list_letters(Settings.load(), closed_too=everything, as_json=json))


@dlq.command("show")
def show_dead_letter(
    letter: Annotated[str, typer.Argument(help="Its id, topic/partition/offset, as `list` has it.")],
    json: AsJson = False,
) -> None:
    """Show a dead letter: the record, why it was refused, and what was done about it.

    Exit 0 when it is closed, 1 when it is open or there is none, 2 and 3 as with `list`.
    """
    from cli.dlq.run import show_letter
    from runtime.settings import Settings

    raise typer.Exit(show_letter(Settings.load(), letter, as_json=json))


@dlq.command("retry")
def retry_dead_letters(
    letters: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, as `list` has them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    note: Note = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which ones.")] = False,
) -> None:
    """Have the consumer that refused them, and nobody else, handle records again; say what came of each. Repeatable.

    Exit 0 when it took them all, 1 when one was refused again, 2 and 3 as with `list`.
    """
    from cli.dlq.run import retry_letters
    from runtime.settings import Settings

    code = retry_letters(Settings.load(), letters or [], everything=everything, note=note, dry_run=dry_run)
    raise typer.Exit(code)


@dlq.command("resolve")
def resolve_dead_letters(letters: Letters, note: Note = "") -> None:
    """Say of dead letters that nothing has to be done about them any more. Repeatable.

    Exit 0 when they are closed, 1 when there is no such one, 2 and 3 as with `list`.
    """
    from cli.dlq.run import resolve_letters
    from runtime.settings import Settings

    raise typer.Exit(resolve_letters(Settings.load(), letters, note=note))
