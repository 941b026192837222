"""What strangers may do to an HTTP server of ours, and what they are told when they go too far."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

import structlog

from runtime.metrics import HTTP_REJECTED
from runtime.settings import Settings

log = structlog.stdlib.get_logger(__name__)

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_DESCRIPTORS_KEPT: Final = 128
"""File descriptors that no client gets: databases, gRPC, Kafka, files."""


def problem_urn(name: str) -> str:
    """The `type` of a problem (RFC 9457)."""
    return f"urn:ordersaga:problem:{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of one server; how large a body may be, its application says.

    Attributes:
        head_bytes: of a request line with all headers, and likewise of the trailers of a body.
        headers: of one request.
        head_timeout: from a connection's start, later from its next request's first byte, to the head's end, seconds.
        body_timeout: from there to the body's end, and what a client that reads nothing gets, seconds.
        idle_timeout: from an answer to the next request, seconds.
        connections: open at a time.
    """

    head_bytes: int
    headers: int
    head_timeout: float
    body_timeout: float
    idle_timeout: float
    connections: int

    @classmethod
    def of_gateway(cls, settings: Settings) -> HttpLimits:
        """Those of the public server."""
        return cls(
            head_bytes=settings.http_head_bytes,
            headers=settings.http_headers,
            head_timeout=settings.http_head_timeout,
            body_timeout=settings.http_body_timeout,
            idle_timeout=settings.http_idle_timeout,
            connections=settings.http_connections,
        )


INTERNAL_LIMITS: Final = HttpLimits(
    head_bytes=16_384, headers=100, head_timeout=10, body_timeout=30, idle_timeout=75, connections=50
)
"""For servers that strangers cannot reach, such as the probes'."""


class Rejection(Enum):
    """Why a server ends a connection with an answer of its own: status, last part of the URN, title."""

    MALFORMED = (HTTPStatus.BAD_REQUEST, "bad-request", "The request is no HTTP/1.1")
    HEAD_TOO_LARGE = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "The request's head is too large")
    TOO_MANY_HEADERS = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too-many-headers", "There are too many headers")
    HEAD_TIMEOUT = (HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The request's head took too long")
    BODY_TIMEOUT = (HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The request's body took too long")
    TOO_MANY_CONNECTIONS = (HTTPStatus.SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections are open")

    def __init__(self, status: HTTPStatus, name: str, title: str) -> None:
        self.problem_name, self.status, self.title = name, status, title
        problem = {"type": problem_urn(name), "title": title, "status": status, "detail": f"{title}."}
        self.body = json.dumps(problem).encode()
        retry = "retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        self.head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n{retry}"
            f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(self.body)}\r\n"
        ).encode()
        """Status line and headers, but for those that every answer has."""


class Ending(Enum):
    """Why a server ends a connection without a word."""

    SILENT = "nothing came"
    UNREAD = "the answer is not read"
    EVICTED = "another connection needs the room"


def count_rejected(why: Rejection | Ending) -> None:
    """Note a connection that was ended before its time."""
    HTTP_REJECTED.labels(why.name.lower()).inc()


def room_for(connections: int) -> int:
    """How many of so many connections the process may have file descriptors for.

    The soft limit is raised as far as needed and allowed: it is low for the sake of select(2), which nobody here uses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _DESCRIPTORS_KEPT
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < needed:
        soft = needed if hard == unlimited else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == unlimited or soft >= needed:
        return connections
    room = max(soft - _DESCRIPTORS_KEPT, soft // 2)
    log.warning("http.few_descriptors", limit=soft, needed=needed, connections=room)
    return min(room, connections)
