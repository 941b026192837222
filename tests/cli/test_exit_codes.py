"""How commands end: with one line and an exit code that tells what it was, and never with a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox.ports import HOST, POLL_SECONDS, Ports, free_port
from sandbox.processes import ROOT
from sandbox.settings import port_setting
from tests.support.busy_machine import slowdown
from tests.support.command import ordersaga

NOWHERE = f"{HOST}:1"
DSN = f"postgresql://somebody:hush@{NOWHERE}/nothing"
AWAY = {
    "ORDERSAGA_AUDIT_DSNS": f'{{"order": "{DSN}", "inventory": "{DSN}", "payment": "{DSN}"}}',
    "ORDERSAGA_TEMPORAL_ADDRESS": NOWHERE,
    "ORDERSAGA_STRIPE_API_KEY": "sk_test_hush",
    "ORDERSAGA_STRIPE_API_BASE": f"http://{NOWHERE}",
    "ORDERSAGA_KAFKA_BOOTSTRAP": NOWHERE,
    "ORDERSAGA_USER_DSN": DSN,
    "ORDERSAGA_ORDER_DSN": DSN,
}
"""An installation of which nothing runs."""


def environment(**settings: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}
    return {**kept, **AWAY, **settings}


def test_an_audit_of_which_nothing_answers_names_each_in_a_line_and_exits_3() -> None:
    done = ordersaga("audit", environment=environment())

    away = [line.partition(":")[2].strip() for line in done.stdout.splitlines() if "could not be read:" in line]
    assert (done.returncode, done.stderr) == (3, "")
    assert sorted(line.split(" does")[0].split(":")[0] for line in away) == [
        *("Kafka", "Stripe", "Temporal"),
        *("database inventory", "database order", "database payment"),
    ]
    assert [line for line in away if "; see ORDERSAGA_" not in line] == []
    assert done.stdout.count("not checked") == 9
    assert "hush" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "says"),
    [
        (["audit"], {"ORDERSAGA_AUDIT_DSNS": "nonsense"}, 2, "ORDERSAGA_AUDIT_DSNS: must be JSON: "),
        (["audit"], {"ORDERSAGA_AUDIT_DSNS": "{}"}, 2, "ORDERSAGA_AUDIT_DSNS lacks order, inventory, payment. It is: "),
        (
            ["audit"],
            {"ORDERSAGA_AUDIT_DSNS": '{"order": "hush", "inventory": "hush", "payment": "hush"}'},
            2,
            "ORDERSAGA_AUDIT_DSNS, ",
        ),
        (["audit"], {"ORDERSAGA_STRIPE_API_KEY": ""}, 2, "ORDERSAGA_STRIPE_API_KEY is not set. It is: "),
        (
            ["audit"],
            {"ORDERSAGA_KAFKA_BOOTSTRAP": "127.0.0.1:99999"},
            2,
            "ORDERSAGA_KAFKA_BOOTSTRAP: 127.0.0.1:99999 has no port from 1 to 65535",
        ),
        (["audit"], {"ORDERSAGA_TEMPORAL_PROFILE": "nobody"}, 2, "ORDERSAGA_TEMPORAL_PROFILE: "),
        (["doctor", "nonsense"], {}, 2, "there is no part nonsense; these are: "),
        (["serve", "nonsense"], {}, 2, "no part is called 'nonsense'; these are: "),
        (["setup", "nonsense"], {}, 2, "there is no step nonsense; these are: "),
        (
            ["setup", "temporal"],
            {},
            3,
            "temporal: Temporal: no connection: Connection refused; see ORDERSAGA_TEMPORAL_",
        ),
        (["setup", "kafka"], {}, 3, f"kafka: Kafka: {NOWHERE}: nobody listens there; see ORDERSAGA_KAFKA_BOOTSTRAP"),
        (
            ["setup", "stripe"],
            {"ORDERSAGA_STRIPE_WEBHOOK_URL": "https://shop.example.test/webhooks/stripe"},
            3,
            "stripe: Stripe: APIConnectionError: ",
        ),
        (
            ["setup", "stripe", "--stripe-secret-file", "/nowhere/secret"],
            {},
            2,
            "--stripe-secret-file: /nowhere/secret cannot be written",
        ),
        (
            ["users", "create-admin", "--email", "admin@example.test", "--password", "correct horse"],
            {},
            3,
            "the database does not answer: ",
        ),
        (["repair"], {}, 2, "ORDERSAGA_TLS_CA_FILE is not set. It is: "),
        (["keys", "public", "/nowhere/key"], {}, 2, "/nowhere/key cannot be read: No such file"),
        (["demo", "--var", "README.md"], {}, 2, f"{ROOT / 'README.md' / 'log'}: Not a directory"),
        (["up", "--var", "README.md"], {}, 2, f"{ROOT / 'README.md' / 'log'}: Not a directory"),
    ],
)
def test_what_can_be_foreseen_is_one_line(
    arguments: list[str], settings: Mapping[str, str], code: int, says: str
) -> None:
    done = ordersaga(*arguments, environment=environment(**settings))

    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert done.stderr.startswith(says)
    assert "hush" not in done.stderr


def interrupted(
    *arguments: str, environment: Mapping[str, str], when: Callable[[subprocess.Popen[str]], object]
) -> tuple[int, str]:
    """Press Ctrl-C when that has returned; the command's exit code, and what it said on standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            when(process)
            os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C goes to the whole process group
            _, said = process.communicate(timeout=60 * slowdown())
        finally:
            process.kill()
    return process.returncode, said


class Silent:
    """Somebody who takes a call, and says nothing."""

    def __init__(self) -> None:
        self._listening = socket.create_server((HOST, free_port()))
        self._listening.settimeout(60 * slowdown())
        self._called: socket.socket | None = None
        self.address = f"{HOST}:{self._listening.getsockname()[1]}"

    def wait_for_call(self) -> None:
        self._called, _ = self._listening.accept()

    def close(self) -> None:
        self._listening.close()
        if self._called is not None:
            self._called.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    with closing(Silent()) as silent:
        yield silent


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["audit"], "ORDERSAGA_KAFKA_BOOTSTRAP"),
        (["audit", "--json"], "ORDERSAGA_TEMPORAL_ADDRESS"),
        (["setup", "kafka"], "ORDERSAGA_KAFKA_BOOTSTRAP"),
        (["setup", "temporal"], "ORDERSAGA_TEMPORAL_ADDRESS"),
        (["doctor", "installation"], "ORDERSAGA_KAFKA_BOOTSTRAP"),
    ],
)
def test_ctrl_c_ends_a_command_that_waits_at_once(arguments: list[str], setting: str, silent: Silent) -> None:
    ended = interrupted(
        *arguments, environment=environment(**{setting: silent.address}), when=lambda _: silent.wait_for_call()
    )

    assert ended == (130, "Interrupted.\n")


@pytest.mark.parametrize("command", ["demo", "up"])
def test_ctrl_c_while_a_stack_starts_stops_what_had_started(command: str, tmp_path: Path) -> None:
    ports = {port_setting(listener): str(port) for listener, port in asdict(Ports.free()).items()}
    var = tmp_path / "var"

    def until_it_starts(process: subprocess.Popen[str]) -> None:
        while not (var / "log" / "kafka.log").exists() and process.poll() is None:
            time.sleep(POLL_SECONDS)

    ended = interrupted(command, "--var", str(var), environment=environment(**ports), when=until_it_starts)

    assert ended == (130, "Interrupted.\n")
    assert not (var / "endpoints.json").exists()
