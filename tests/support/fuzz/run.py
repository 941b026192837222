"""Requests sent to a gateway by everybody, each answer held against the document."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

import requests
from schemathesis import Response
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.openapi.checks import RejectedPositiveData

from tests.support.fuzz.deepen import SHARE, deepen
from tests.support.fuzz.draw import AnyCase, Operation, operation_id
from tests.support.fuzz.shop import Accounts, Known, note_order

CALLERS: Final = ("anonymous", "guest", "customer", "support", "admin")
_CHANGES_ONESELF: Final = frozenset(
    {"changePassword", "changeEmail", "eraseCurrentUser", "endSessions", "endSession", "requestConfirmation"}
)
_TIMEOUT: Final = 60

_BEYOND: Final[Mapping[str, re.Pattern[str]]] = {
    # by country; and a product's units over all of its lines; and for whom there is no account
    "placeOrder": re.compile(
        r"shipping_address\.(region|postal_code|city|name|line1|line2)|lines\[\d+\]\.quantity|customer"
    ),
    "listOrders": re.compile("search"),  # which staff may look for among one customer's orders alone
    "placeGuestOrder": re.compile(
        r"name|shipping_address\.(region|postal_code|city|name|line1|line2)|lines\[\d+\]\.quantity|Idempotency-Key"
    ),
    "refundOrder": re.compile(r"restock\[\d+\]\.quantity"),
    # not seen or a link, which Unicode's tables say; among the commonest, or shorter once it is normalised
    "registerUser": re.compile("name|password"),
    "resetPassword": re.compile("password"),
    "changePassword": re.compile("password"),
}
"""Fields of which no pattern says all of what they may not be: they may be refused although they fit the document."""
_SPENT: Final = frozenset({"urn:ordersaga:problem:link-not-valid", "urn:ordersaga:problem:bad-webhook-signature"})
"""Secrets that nobody can guess."""
_MARKS: Final = "no more than eight marks on a letter"
"""The end of the rule of texts, of which no pattern says all: see `domain.texts`."""


@dataclass(slots=True)
class Finding:
    """A difference between document and gateway, with one request that shows it."""

    operation: str
    title: str
    message: str
    caller: str
    curl: str
    answer: str
    times: int = 1

    def __str__(self) -> str:
        return (
            f"{self.times} × {self.operation}: {self.title} ({self.caller})\n{self.message}\n{self.curl}\n{self.answer}"
        )


@dataclass(slots=True)
class Outcome:
    """What a run found."""

    sent: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by operation and caller."""
    served: set[str] = field(default_factory=set)
    """Operations that were served once at least."""
    findings: dict[tuple[str, str, str], Finding] = field(default_factory=dict)

    def note(self, finding: Finding) -> None:
        """Keep the first request that shows something, and count the others."""
        key = (finding.operation, finding.title, finding.message.splitlines()[-1] if finding.message else "")
        if key in self.findings:
            self.findings[key].times += 1
        else:
            self.findings[key] = finding

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return f"{self.sent} requests in {self.seconds:.0f} s, {len(self.findings)} findings; {statuses}"


class Fuzz:
    """Sends requests as everybody.

    Args:
        gateway: its URL.
        accounts: whose tokens they come with.
        known: what there is.
        seed: of whatever is chosen.
    """

    def __init__(self, gateway: str, accounts: Accounts, known: Known, *, seed: int) -> None:
        self._gateway = gateway
        self._accounts = accounts
        self._known = known
        self._chance = random.Random(seed)  # noqa: S311  # a choice, no secret
        self._session = requests.Session()
        self._session.trust_env = False
        self.outcome = Outcome()

    def run(self, cases: Iterable[Sequence[AnyCase]], *, most: int, ends: float) -> None:
        """Send requests of each operation in turn, each as everybody.

        Args:
            cases: those of each operation.
            most: how many have been sent at the end, those of earlier runs too.
            ends: on the monotonic clock, when no more are sent.
        """
        began = time.monotonic() - self.outcome.seconds
        for case in (case for turn in zip_longest(*cases) for case in turn if case is not None):
            deepen(case, self._known, self._chance)
            for caller in CALLERS:
                self.outcome.seconds = time.monotonic() - began
                if self.outcome.sent >= most or time.monotonic() > ends:
                    return
                self._send(case, caller)

    def _send(self, case: AnyCase, caller: str) -> None:
        operation = operation_id(case.operation)
        is_spare = operation in _CHANGES_ONESELF
        headers = {} if caller == "anonymous" else self._accounts.headers(caller, is_spare=is_spare)
        if operation == "endSession" and headers and self._chance.random() < SHARE:  # everybody has their own
            case = case.operation.Case(path_parameters={"session_id": self._accounts.session(caller)})
        response = case.call(
            base_url=self._gateway,
            session=self._session,
            headers=dict(headers),
            timeout=_TIMEOUT,
            allow_redirects=False,
        )
        self.outcome.sent += 1
        self.outcome.statuses[response.status_code] += 1
        self.outcome.met[operation, caller] += 1
        self._check(case, response, caller, headers)
        if case.method.upper() == case.operation.method.upper():
            self._learn(operation, response)
        spent = response.status_code in (401, 204) or (is_spare and response.status_code == 404)
        if caller != "anonymous" and spent and (is_spare or _is_refused_token(response)):
            self._accounts.renew(caller, is_spare=is_spare)

    def _check(self, case: AnyCase, response: Response, caller: str, headers: Mapping[str, str]) -> None:
        try:
            case.validate_response(
                response,
                headers=dict(headers),
                transport_kwargs={"headers": dict(headers), "session": self._session, "timeout": _TIMEOUT},
            )
        except FailureGroup as group:
            for failure in group.exceptions:
                if not _is_beyond_the_document(case, response, failure):
                    self._note(case, response, caller, failure)
        except Failure as failure:
            if not _is_beyond_the_document(case, response, failure):
                self._note(case, response, caller, failure)

    def _note(self, case: AnyCase, response: Response, caller: str, failure: Exception) -> None:
        title = failure.title if isinstance(failure, Failure) else type(failure).__name__
        message = failure.message if isinstance(failure, Failure) else str(failure)
        self.outcome.note(
            Finding(
                operation=case.operation.label,
                title=title,
                message=message[:600],
                caller=caller,
                curl=case.as_curl_command()[:1_500],
                answer=f"{response.status_code} {response.text[:400]}",
            )
        )

    def _learn(self, operation: str, response: Response) -> None:
        """Know what there is now."""
        if not 200 <= response.status_code < 300:
            return
        self.outcome.served.add(operation)
        if response.status_code == 204 or operation == "streamOrderEvents":
            return
        body: dict[str, Any] = response.json()
        if learn := _LESSONS.get(operation):
            learn(self._known, body)
        if isinstance(body, dict) and body.get("next_cursor"):
            self._known.cursors.append(body["next_cursor"])


_LESSONS: Final[Mapping[str, Callable[[Known, dict[str, Any]], None]]] = {
    "placeGuestOrder": lambda known, placed: note_order(known, placed["order"]),
    "placeOrder": note_order,
    "createProduct": lambda known, product: known.products.append(product["id"]),
    "createToken": lambda known, token: known.refresh_tokens.append(token["refresh_token"]),
    "refreshToken": lambda known, token: known.refresh_tokens.append(token["refresh_token"]),
}


def cases_of(operations: Sequence[Operation], *, requests_: int) -> int:
    """Requests of each operation, so that everybody sends each of them, and together there are so many."""
    return max(1, -(-requests_ // (len(operations) * len(CALLERS))))


def _is_refused_token(response: Response) -> bool:
    return response.status_code == 401 and "-token" in response.text


def _is_beyond_the_document(case: AnyCase, response: Response, failure: Exception) -> bool:
    """Whether a request was refused for what no document can say."""
    if operation_id(case.operation) == "streamOrderEvents" and isinstance(failure, Failure):
        # of server-sent events OpenAPI 3.1 says that they are text, and schemathesis wants a schema of each of them
        return failure.title == "SSE event violates schema"
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return False
    problem = response.json()
    if problem["type"] in _SPENT:
        return True
    pattern = _BEYOND.get(operation_id(case.operation))
    errors = [error for error in problem.get("errors", []) if not error["message"].endswith(_MARKS)]
    fields = [error["field"] for error in errors]
    if pattern is None:
        return bool(problem.get("errors")) and not fields
    return bool(problem.get("errors")) and all(pattern.fullmatch(name) for name in fields)
