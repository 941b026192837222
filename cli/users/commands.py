"""The commands that administer accounts, as typer has them; each imports what it needs when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.quiet_settings import quiet_settings
from domain.users import Role

if TYPE_CHECKING:
    from cli.users.run import Act

users = typer.Typer(
    help="Accounts: the settings name an operator's certificate, but for `create-admin`.", no_args_is_help=True
)

Who = Annotated[str, typer.Argument(help="Id or e-mail of an account.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Name = Annotated[str, typer.Option(help="The admin's name.", envvar="ORDERSAGA_ADMIN_NAME")]
DEFAULT_NAME = "Admin"


@users.command()
def create_admin(
    email: Annotated[str, typer.Option(help="The admin's e-mail.", envvar="ORDERSAGA_ADMIN_EMAIL", prompt="E-mail")],
    password: Annotated[
        str,
        typer.Option(
            help="The admin's password; asked for when missing.",
            envvar="ORDERSAGA_ADMIN_PASSWORD",
            prompt=True,
            hide_input=True,
            confirmation_prompt=True,
        ),
    ],
    name: Name = DEFAULT_NAME,
) -> None:
    """Make an admin, or give the account that has the e-mail the role and the password. Repeatable.

    Asks the database itself, so that there can be a first one.
    """
    from cli.setup.admin import create_admin

    user_id = create_admin(quiet_settings(), email=email, password=password, name=name)
    print(f"admin ready: {user_id}")


@users.command()
def show(who: Who, json: AsJson = False) -> None:
    """Show an account. Exit 1 if there is none."""
    from cli.users.run import show

    _act(who, show, as_json=json)


@users.command("role")
def set_role(who: Who, role: Annotated[Role, typer.Argument(help="The new one.")], json: AsJson = False) -> None:
    """Give an account another role, and end its sessions. Exit 1 where no admin would be left."""
    from cli.users.run import change

    _act(who, change(role=role), as_json=json)


@users.command()
def disable(who: Who, json: AsJson = False) -> None:
    """Let nobody log in to an account, and end its sessions. Exit 1 where no admin would be left."""
    from cli.users.run import change

    _act(who, change(disabled=True), as_json=json)


@users.command()
def enable(who: Who, json: AsJson = False) -> None:
    """Let its holder log in to an account again."""
    from cli.users.run import change

    _act(who, change(disabled=False), as_json=json)


@users.command("log-out")
def log_out(who: Who, json: AsJson = False) -> None:
    """End all sessions of an account: its access tokens are refused within a minute."""
    from cli.users.run import log_out

    _act(who, log_out, as_json=json)


@users.command()
def erase(
    who: Who,
    json: AsJson = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")] = False,
) -> None:
    """Erase a person for good: the account at once, name and address in orders as soon as these have ended.

    Exit 1 where no admin would be left.
    """
    from cli.users.run import erase

    if not yes:
        typer.confirm(f"Erase {who} for good?", abort=True)
    _act(who, erase, as_json=json)


def _act(who: str, act: Act, *, as_json: bool) -> None:
    import asyncio

    from cli.users.run import act_on

    asyncio.run(act_on(quiet_settings(), who, act, as_json=as_json))
