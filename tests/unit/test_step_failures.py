"""What people read about a step that fails: which service, gRPC's code, and why, in words."""

from __future__ import annotations

import grpc
import pytest

from activities.calling import MAX_WORDS, in_words
from runtime.rpc_client import ServiceUnavailable

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
LATE, UNIMPLEMENTED = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        (
            UNAVAILABLE,
            (
                "connections to all backends failing; last error: UNKNOWN: ipv4:127.0.0.1:50054: Failed to connect to "
                "remote host: Connection refused"
            ),
            "inventory service UNAVAILABLE: no connection: Connection refused",
        ),
        (
            UNAVAILABLE,
            (
                "errors resolving inventory:50054: [field:hostname lookup error:address lookup failed for "
                "inventory:50054: Domain name not found]"
            ),
            "inventory service UNAVAILABLE: no connection: Domain name not found",
        ),
        (
            UNAVAILABLE,
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:50054: Socket closed",
            "inventory service UNAVAILABLE: no connection: Socket closed",
        ),
        (UNAVAILABLE, "Cancelling all calls", "inventory service UNAVAILABLE: the connection broke during the call"),
        (
            UNAVAILABLE,
            (
                "the database does not answer: server closed the connection unexpectedly\n\tThis probably means the "
                "server terminated abnormally\n"
            ),
            "inventory service UNAVAILABLE: the database does not answer: server closed the connection unexpectedly",
        ),
        (
            UNAVAILABLE,
            "Stripe: APIError: An error occurred",
            "inventory service UNAVAILABLE: Stripe: APIError: An error occurred",
        ),
        (LATE, "Deadline Exceeded", "inventory service DEADLINE_EXCEEDED: no answer within 3.5 s"),
        (
            UNIMPLEMENTED,
            "Method not found!",
            "inventory service UNIMPLEMENTED: it does not know this call; is it of another version?",
        ),
        (
            INTERNAL,
            "internal error; the service's log has it",
            "inventory service INTERNAL: internal error; the service's log has it",
        ),
    ],
)
def test_a_call_that_fails_for_now_is_told_in_words(code: grpc.StatusCode, message: str, words: str) -> None:
    assert in_words(ServiceUnavailable("inventory", code, message), waited=3.5) == words


def test_a_very_long_message_is_cut() -> None:
    words = in_words(ServiceUnavailable("payment", UNAVAILABLE, "x" * 10_000), waited=3.5)

    assert len(words) == MAX_WORDS + len("payment service UNAVAILABLE: ")
