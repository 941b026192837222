"""Mutations of how the gateway meets the internet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

EDGE: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a client says itself who it is",
        file="runtime/client_address.py",
        source="before = parse_address(way.pop())",
        mutated="before = parse_address(way.pop(0))",
        tests=["tests/runtime/test_client_address.py"],
    ),
    Mutation(
        breaks="whoever has an IPv6 network has a limit for each of its addresses",
        file="runtime/client_address.py",
        source="_SUBSCRIBER_V6: Final = 64",
        mutated="_SUBSCRIBER_V6: Final = 128",
        tests=["tests/runtime/test_client_address.py"],
    ),
    Mutation(
        breaks="a bucket gives more than it has",
        file="services/user/limits/repository.py",
        source="(missing + %(spacing)s::bigint - 1) / %(spacing)s::bigint",
        mutated="missing / %(spacing)s::bigint",
        tests=["tests/user/test_shared_limits.py"],
    ),
    Mutation(
        breaks="who was exempt once is exempt for ever",
        file="services/user/limits/repository.py",
        source="key = %(unless)s AND ends_at > now()",
        mutated="key = %(unless)s",
        tests=["tests/user/test_shared_limits.py"],
    ),
    Mutation(
        breaks="permits of a lease that has ended are given out",
        file="runtime/limits/buckets.py",
        source="if self.leased == 0 or self.lease_ends <= now:",
        mutated="if self.leased == 0:",
        tests=["tests/unit/test_limiter.py"],
    ),
    Mutation(
        breaks="without the user service nobody is limited",
        file="runtime/limits/limiter.py",
        source="if not bucket.take_alone(rate, now=now):",
        mutated="if False:",
        tests=["tests/unit/test_limiter.py"],
    ),
    Mutation(
        breaks="a stranger's guesses lock the owner out",
        file="runtime/limits/logins.py",
        source="Permit(Limit.LOGINS_ELSEWHERE, (account,), unless_exempt=owner_key(email, here)),",
        mutated="Permit(Limit.LOGINS_ELSEWHERE, (account,)),",
        tests=["tests/gateway/test_limits.py"],
    ),
    Mutation(
        breaks="passwords are guessed at the codec server as often as somebody likes",
        file="workers/codec/app.py",
        source="await limits.take_of_account(request, email)",
        mutated="pass",
        tests=["tests/codec/test_codec_server.py"],
    ),
    Mutation(
        breaks="a session says where the proxy is",
        file="api/client_traits.py",
        source="address = address_of(request.scope)",
        mutated="address = request.client.host if request.client else None",
        tests=["tests/gateway/test_limits.py"],
    ),
    Mutation(
        breaks="a customer acts on another's order",
        file="services/order/service.py",
        source="if order is None or not caller.may_see(order.user_id, order_id=order.id):",
        mutated="if order is None:",
        tests=["tests/gateway/test_access.py"],
    ),
    Mutation(
        breaks="what is another's says so",
        file="services/payment/payments/service.py",
        source="raise NoSuchPayment(payment_id)",
        mutated="raise NoSuchPayment(payment_id) if payment is None else PaymentNotFound(payment.order_id)",
        tests=["tests/gateway/test_access.py"],
    ),
    Mutation(
        breaks="somebody's text steers a terminal",
        file="cli/printable.py",
        source="return escape(printable(text))",
        mutated="return escape(text)",
        tests=["tests/unit/test_hostile_texts.py"],
    ),
    Mutation(
        breaks="a name writes headers of a mail",
        file="services/notification/smtp.py",
        source='_CONTROLS.sub(" ", text).split()',
        mutated="text.split(' ')",
        tests=["tests/unit/test_hostile_texts.py"],
    ),
    Mutation(
        breaks="pages of any origin may call where some may",
        file="api/cors.py",
        source="if origin in allowed:",
        mutated="if origin:",
        tests=["tests/gateway/test_edge.py"],
    ),
)
