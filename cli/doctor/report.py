"""The findings, for people and for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from cli.doctor.finding import Finding, State
from cli.printable import as_markup, printable_json

_COLOURS: Final = {State.OK: "green", State.WRONG: "bold red", State.ADVICE: "yellow", State.SKIPPED: "dim"}


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> bool:
    """Print them; whether nothing is wrong."""
    if as_json:
        print(printable_json(findings))
    else:
        _print_lines(findings)
    return all(finding.state is not State.WRONG for finding in findings)


def _print_lines(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(f"{finding.part}: {finding.check}") for finding in findings)
    for finding in findings:
        name = f"{finding.part}: {finding.check}"
        state = f"[{_COLOURS[finding.state]}]{finding.state:7}[/]"
        console.print(f"{state}  {as_markup(name):{width}}  {as_markup(' '.join(finding.text.split()))}".rstrip())
    count = Counter(finding.state for finding in findings)
    console.print(
        f"{count[State.OK]} ok, {count[State.WRONG]} wrong, {count[State.ADVICE]} could be safer, "
        f"{count[State.SKIPPED]} not looked at"
    )
