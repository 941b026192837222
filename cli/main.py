"""The `ordersaga` command.

Commands import what they need when they run, so that `ordersaga --help` answers at once. What they raise, `cli.exiting`
turns into words and an exit code: 0 all well, 1 finding, 2 usage or setting, 3 could not be asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.dlq.commands import dlq
from cli.events.commands import events
from cli.exiting import ExitCode, run_and_exit

if TYPE_CHECKING:
    from cli.on_call.actions import Act
    from domain.concerns import ConcernKind
    from runtime.settings import Settings

app = typer.Typer(
    help="Ordersaga: orders and payments that agree at the end.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
users = typer.Typer(help="Accounts.", no_args_is_help=True)
app.add_typer(users, name="users")
keys = typer.Typer(help="Keys that access tokens are signed and verified with.", no_args_is_help=True)
app.add_typer(keys, name="keys")
deployment = typer.Typer(
    help="Versions of the order worker: which gets new orders, what still runs on which.\n\n"
    "Exit 0 when all is well, 1 when something is to be done, 2 when a setting or version does not fit, 3 when "
    "Temporal could not be asked.",
    no_args_is_help=True,
)
app.add_typer(deployment, name="deployment")
app.add_typer(events, name="events")
app.add_typer(dlq, name="dlq")


Name = Annotated[str, typer.Option(help="The admin's name.", envvar="ORDERSAGA_ADMIN_NAME")]
Held = Annotated[bool, typer.Option(help="Begin, imports done, when standard input has ended.", hidden=True)]
DEFAULT_NAME = "Admin"


def _settings() -> Settings:
    """The settings of a command that runs beside the parts: what goes wrong it says itself, and our logs are silent.

    Raises:
        SettingsError: one does not fit.
    """
    from runtime.logs import configure_logging
    from runtime.settings import Settings

    configure_logging("critical")
    return Settings.load()


@app.command()
def serve(
    parts: Annotated[list[str], typer.Argument(help="gateway, order, payment, …; `order-worker`, `relay`.")],
    held: Held = False,
) -> None:
    """Run one part of Ordersaga, or several in one process, until SIGTERM or Ctrl-C.

    Settings come from the environment. Exit 0 after a clean stop, 1 when a part failed, 2 when a setting does not fit.
    """
    from cli.serve import load
    from runtime.process import run_process

    runners = load(parts)
    if held:
        sys.stdin.read()
    run_process(runners)


@app.command()
def setup(
    steps: Annotated[
        list[str] | None, typer.Argument(help="databases, temporal, kafka, stripe, admin; all of them without any.")
    ] = None,
    stripe_secret_file: Annotated[
        Path | None, typer.Option(help="Where a new endpoint's signing secret goes; else it is printed.")
    ] = None,
    held: Held = False,
) -> None:
    """Prepare what the parts need. Repeatable; what is there already is left alone.

    databases: roles, tables, rights. temporal: namespace, retention, search attributes. kafka: topics.
    stripe: the webhook endpoint. admin: the first admin.

    What somebody else has to do is printed as a command. Exit 1 when a step failed, 2 when a setting does not fit,
    3 when somebody does not answer.
    """
    from cli.setup.run import run, steps_of

    chosen = steps_of(steps or [])
    if held:
        sys.stdin.read()
    raise typer.Exit(run(_settings(), chosen, secret_file=stripe_secret_file))


@app.command()
def doctor(
    parts: Annotated[
        list[str] | None, typer.Argument(help="gateway, order, …, `installation`; all of them without any.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON array instead of lines.")] = False,
) -> None:
    """Look at all that the parts need, each with its own settings: one line each, what is wrong and what mends it.

    Exit 0 when all is well, 1 when something is wrong, 2 when a setting does not fit.
    """
    from cli.doctor.report import print_findings
    from cli.doctor.run import examine

    findings = examine(_settings(), parts or [])
    if not print_findings(findings, as_json=json):
        raise typer.Exit(ExitCode.FINDING)


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
    """Make an admin, or give the account that has the e-mail the role and the password. Repeatable."""
    from cli.setup.admin import create_admin

    user_id = create_admin(_settings(), email=email, password=password, name=name)
    print(f"admin ready: {user_id}")


@app.command()
def up(
    var: Annotated[Path, typer.Option(help="Folder of the stack's data, logs and secrets.")] = Path("var"),
    split: Annotated[bool, typer.Option("--split", help="Give each component a process of its own.")] = False,
) -> None:
    """Start the embedded stack and leave it running; Ctrl-C stops it, exit 0.

    A service, worker or double that dies is started again.
    When PostgreSQL, Temporal or the broker dies, the stack stops, exit 1.
    Data stays in the folder: the next start goes on with it.

    Ports are set by environment variables ORDERSAGA_SANDBOX_<NAME>_PORT:
    GATEWAY (8080), ORDER (50051), PAYMENT (50052), NOTIFICATION (50053),
    INVENTORY (50054), PRODUCT (50055), USER (50056), TEMPORAL (7233),
    TEMPORAL_UI (8233), KAFKA (9092), POSTGRES (5433), STRIPE (12111),
    SMTP (1025), MAILBOX (8025).

    ORDERSAGA_SANDBOX_EXTERNAL='["kafka"]' starts no broker of the stack's own:
    one that somebody else runs is used, as the settings of the product say.
    It takes postgres, temporal, kafka and smtp.
    """
    import asyncio

    from sandbox.ports import Ports
    from sandbox.settings import SandboxSettings
    from sandbox.up import up as run_up

    asyncio.run(run_up(var, Ports.load(), split=split, external=SandboxSettings.load().external))


@app.command()
def demo(
    json: Annotated[Path | None, typer.Option(help="Also write the report as JSON to this file.")] = None,
    histories: Annotated[Path | None, typer.Option(help="Also save each workflow's history to this folder.")] = None,
    var: Annotated[Path, typer.Option(help="Folder of the demo's stack; emptied first.")] = Path("var/demo"),
) -> None:
    """Drive real orders through a fresh embedded stack on free ports, audit what became of them, stop."""
    from cli.demo.run import run_demo

    if not run_demo(var, json_file=json, histories=histories):
        raise typer.Exit(ExitCode.FINDING)


@app.command()
def audit(json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False) -> None:
    """Check that money, stock and orders agree, from the databases, Stripe, Temporal and Kafka.

    What does not answer is asked again for a few seconds, then named; all that needs none of it is checked.

    Exit 0 when all holds, 1 when something is broken, 2 when a setting does not fit, 3 when nothing was found broken,
    and something could not be read.
    """
    import asyncio

    from cli.audit.report import print_audit
    from cli.audit.run import examine

    facts, breaches = asyncio.run(examine(_settings()))
    print_audit(facts, breaches, as_json=json)
    if breaches:
        raise typer.Exit(ExitCode.FINDING)
    if facts.unread:
        raise typer.Exit(ExitCode.NOT_ASKED)


Ids = Annotated[list[str] | None, typer.Argument(help="As `ordersaga attention` shows them.")]
Orders = Annotated[list[str] | None, typer.Argument(help="Ids of orders.")]
Matching = Annotated[
    str | None,
    typer.Option("--query", help="All that need a person and match: kind=order step=reserve cause=timeout older=5m."),
]
Note = Annotated[str, typer.Option(help="Why; kept with the action.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@app.command()
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

    if not asyncio.run(print_attention(_settings(), query, show_all=show_all, as_json=json)):
        raise typer.Exit(ExitCode.FINDING)


@app.command()
def order(
    order_id: Annotated[str, typer.Argument(help="Of an order.")],
    json: AsJson = False,
) -> None:
    """Show all that is known of an order: lines, payment, stock, mails, events, its workflow, and what happened when.

    Exit 1 when there is no such order, 3 when a service did not answer.
    """
    import asyncio

    from cli.on_call.order_page import print_order

    if not asyncio.run(print_order(_settings(), order_id, as_json=json)):
        raise typer.Exit(ExitCode.NOT_ASKED)


@app.command()
def retry(
    ids: Ids = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Let what stands still run again at once: a step of an order, refund or dispute, an event of Stripe's, a mail.

    Says what came of it. Exit 1 unless all got through.
    """
    from cli.on_call import actions

    _act("retry", actions.retry(note), ids, query, kinds=actions.DECIDABLE, dry_run=dry_run, as_json=json)


@app.command()
def resolve(
    ids: Ids = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Say that a person did by hand what stands still: a parked undo, a failed refund, a flagged event, a mail."""
    from cli.on_call import actions

    _act("resolve", actions.resolve(note), ids, query, kinds=actions.DECIDABLE, dry_run=dry_run, as_json=json)


@app.command()
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


@app.command()
def cancel(
    orders: Orders = None, query: Matching = None, note: Note = "", dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Cancel orders that nobody has paid: payment closed, stock given back. Exit 1 unless all are CANCELLED."""
    from cli.on_call import actions

    _act("cancel", actions.cancel(note), orders, query, dry_run=dry_run, as_json=json)


@app.command()
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
    """Give the money of orders back. Repeatable: the same amount again is the same refund, unless --key names another.

    Exit 1 unless all succeeded by now.
    """
    from cli.on_call import actions

    act = actions.refund(note, amount=amount, restock=restock, key=key)
    _act("refund", act, orders, query, dry_run=dry_run, as_json=json)


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
    states = {result.state for result in asyncio.run(run(_settings(), request))}
    if State.UNKNOWN in states:
        raise typer.Exit(ExitCode.NOT_ASKED)
    if states - {State.DONE}:
        raise typer.Exit(ExitCode.FINDING)


@app.command()
def replay(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Histories, from `temporal workflow show --output json`, and folders of them."),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="Visibility query, such as 'ExecutionStatus=\"Running\"', in place of files.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most histories of a query, the newest first.")] = 1_000,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are CPUs without it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON array instead of lines.")] = False,
) -> None:
    """Replay workflow histories on the workflow code as it is: those of files, or of what a query finds.

    Of one that does not replay the first difference is told; of one whose pending workflow task fails, the error.

    Exit 0 when all replay, 1 when one does not or cannot be told, 2 when a file holds no history or a setting does not
    fit, 3 when Temporal does not answer.
    """
    from cli.replay.run import replay as run_replay

    raise typer.Exit(run_replay(paths or [], query, limit=limit, jobs=jobs, as_json=json))


@app.command()
def settings() -> None:
    """Print every setting of every part: its default, what it is, who reads it. Markdown."""
    from cli.settings_page import to_markdown

    typer.echo(to_markdown(), nl=False)


@keys.command("new")
def make_key() -> None:
    """Print a new private key for ORDERSAGA_JWT_PRIVATE_KEY, in PEM."""
    from runtime.tokens import make_private_key

    typer.echo(make_private_key(), nl=False)


@keys.command("public")
def show_public_keys(
    private_keys: Annotated[list[Path], typer.Argument(help="Private keys in PEM: the new one, and the last.")],
) -> None:
    """Print the public halves of private keys for ORDERSAGA_JWT_PUBLIC_KEYS, as a JWK set (RFC 7517)."""
    from cli.keys import public_keys

    typer.echo(public_keys(private_keys))


BuildId = Annotated[str, typer.Argument(metavar="VERSION", help="Build id, as `ordersaga deployment show` lists it.")]


@deployment.command("show")
def show_deployment(json: AsJson = False) -> None:
    """Show each version: its share of new orders, its workers, and the open workflows on it."""
    from cli.deployment.run import run, show

    raise typer.Exit(run(show(as_json=json)))


@deployment.command("current")
def set_current_version(build_id: BuildId, json: AsJson = False) -> None:
    """Give all new orders to a version, and end a ramp. Orders that wait stay with theirs."""
    from cli.deployment.run import run, set_current

    raise typer.Exit(run(set_current(build_id, as_json=json)))


@deployment.command("ramp")
def ramp_version(
    build_id: BuildId,
    percentage: Annotated[float, typer.Argument(min=0, max=100, help="Of new orders; 0 ends the ramp.")],
    json: AsJson = False,
) -> None:
    """Give a share of the new orders to a version; the current one keeps the rest."""
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
    from cli.deployment.run import drain, run

    raise typer.Exit(run(drain(build_id, to=to, as_json=json)))


def main() -> None:
    """Run a command, and end the process at once."""
    run_and_exit(app)


if __name__ == "__main__":
    main()
