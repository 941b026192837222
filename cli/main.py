"""The `ordersaga` command.

Commands import what they need when they run, so that `ordersaga --help` answers at once. What they raise, `cli.exiting`
turns into words and an exit code: 0 all well, 1 finding, 2 usage or setting, 3 could not be asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.deployment.commands import deployment
from cli.dlq.commands import dlq
from cli.events.commands import events
from cli.exiting import ExitCode, run_and_exit
from cli.on_call.commands import on_call
from cli.quiet_settings import quiet_settings
from cli.users.commands import users

app = typer.Typer(
    help="Ordersaga: orders and payments that agree at the end.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(users, name="users")
keys = typer.Typer(help="Keys that access tokens are signed and verified with.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(deployment, name="deployment")
app.add_typer(events, name="events")
app.add_typer(dlq, name="dlq")
app.add_typer(on_call)


Held = Annotated[bool, typer.Option(help="Begin, imports done, when standard input has ended.", hidden=True)]


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
    raise typer.Exit(run(quiet_settings(), chosen, secret_file=stripe_secret_file))


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

    findings = examine(quiet_settings(), parts or [])
    if not print_findings(findings, as_json=json):
        raise typer.Exit(ExitCode.FINDING)


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

    facts, breaches = asyncio.run(examine(quiet_settings()))
    print_audit(facts, breaches, as_json=json)
    if breaches:
        raise typer.Exit(ExitCode.FINDING)
    if facts.unread:
        raise typer.Exit(ExitCode.NOT_ASKED)


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


@app.command()
def openapi() -> None:
    """Print the description of the HTTP API. OpenAPI 3.1, JSON."""
    from api.document import openapi_json

    typer.echo(openapi_json(), nl=False)


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


def main() -> None:
    """Run a command, and end the process at once."""
    run_and_exit(app)


if __name__ == "__main__":
    main()
