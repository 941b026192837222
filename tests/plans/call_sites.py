"""Every place in the code that runs a statement, found in its text: none of them can be forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.plans.recording import ROOT, Site

_RUNS: Final = frozenset({"execute", "fetch_one", "fetch_all", "fetch_value"})
_ROOMS: Final = ("services", "runtime", "workers")
NOT_OF_REPOSITORIES: Final = {
    "runtime/database.py": "what runs the statements of the others",
    "runtime/listener.py": "LISTEN and a sign of life",
    "workers/relay/database.py find_problem": "reads rights, once at the start",
}
"""Files, or functions of them, and why their statements have no plan."""


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call that runs a statement, or hands SQL to a function that does."""

    file: str
    function: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.file}:{self.first} in {self.function}"

    def is_among(self, sites: Iterable[Site]) -> bool:
        """Whether one of these lines is this call's."""
        return any(site.file == self.file and self.first <= site.line <= self.last for site in sites)


def find_call_sites() -> Iterator[CallSite]:
    """All of them, but for those that are named above."""
    for room in _ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            file = str(path.relative_to(ROOT))
            if file not in NOT_OF_REPOSITORIES:
                yield from find_in(file, path.read_text())


def find_in(file: str, text: str) -> Iterator[CallSite]:
    """Those of one file."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    takes_sql = {function.name for function in functions if _takes_sql(function)}
    for function in functions:
        if f"{file} {function.name}" in NOT_OF_REPOSITORIES:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _called(node) in _RUNS | takes_sql and not _is_cursor(node):
                yield CallSite(file, function.name, node.lineno, node.end_lineno or node.lineno)


def _takes_sql(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a coroutine that is handed SQL: what makes SQL of SQL runs nothing."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return isinstance(function, ast.AsyncFunctionDef) and any(
        argument.annotation is not None and ast.unparse(argument.annotation) == "LiteralString"
        for argument in arguments
    )


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _is_cursor(call: ast.Call) -> bool:
    """Whether it is a method of a list, a queue, … of that name; ours are asked of a connection or a cursor."""
    return isinstance(call.func, ast.Name) and call.func.id in _RUNS
