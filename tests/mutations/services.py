"""Mutations of the user, product, inventory and notification services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

SERVICES: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a release that comes first leaves no tombstone",
        file="services/inventory/statements.py",
        source="        VALUES (%(order_id)s, 'RELEASED', now(), now())",
        mutated="        SELECT %(order_id)s, 'RELEASED', now(), now() WHERE false",
        tests=["tests/inventory/test_service.py::test_a_release_that_comes_first_refuses_the_late_reserve"],
    ),
    Mutation(
        breaks="what a reserve takes is computed from the stock as it was before the wait for it",
        file="services/inventory/statements.py",
        source="on_hand = held.on_hand + {on_hand}, reserved = held.reserved + {reserved}, seq = held.seq + 1",
        mutated="on_hand = stock.on_hand + {on_hand}, reserved = stock.reserved + {reserved}, seq = stock.seq + 1",
        tests=["tests/inventory/test_races.py"],
    ),
    Mutation(
        breaks="a line is reserved of which there is too little",
        file="services/inventory/statements.py",
        source="WHERE coalesce(held.available, 0) < wanted.quantity",
        mutated="WHERE held.product_id IS NULL",
        tests=["tests/inventory/test_service.py"],
    ),
    Mutation(
        breaks="a duplicate that waited for the reserve which took the last units is out of stock",
        file="services/inventory/service.py",
        source="                if status is not None:\n",
        mutated="                if status is not None and not isinstance(outcome, Shortage):\n",
        tests=["tests/inventory/test_races.py"],
    ),
    Mutation(
        breaks="refunds at once count what is left before the others have put theirs back",
        file="services/inventory/repository.py",
        source="WHERE product_id = ANY(%(product_ids)s::uuid[]) ORDER BY product_id FOR UPDATE",
        mutated="WHERE product_id = ANY(%(product_ids)s::uuid[]) ORDER BY product_id",
        tests=["tests/inventory/test_races.py"],
    ),
    Mutation(
        breaks="adjustments of several products with one id take effect at once",
        file="services/inventory/service.py",
        source="            await repository.lock_id(adjustment_id)\n",
        mutated="",
        tests=["tests/inventory/test_races.py"],
    ),
    Mutation(
        breaks="a commit that a reserve interrupts finds nothing to sell",
        file="services/inventory/service.py",
        source="                        continue  # reserved between the two statements: a sale after all",
        mutated="                        raise ReservationNotFound(order_id)",
        tests=["tests/inventory/test_races.py"],
    ),
    Mutation(
        breaks="a refund puts back what other refunds of the order have put back already",
        file="services/inventory/repository.py",
        source="line.quantity - coalesce(sum(movement.on_hand_change), 0)::int AS quantity",
        mutated="line.quantity - 0 * coalesce(sum(movement.on_hand_change), 0)::int AS quantity",
        tests=["tests/inventory/test_service.py"],
    ),
    Mutation(
        breaks="the units of a sale stay reserved",
        file="services/inventory/statements.py",
        source='on_hand="-quantity", reserved="-quantity"',
        mutated='on_hand="-quantity", reserved="0"',
        tests=["tests/inventory/test_service.py"],
    ),
    Mutation(
        breaks="a mail overtakes the earlier ones of its order",
        file="services/notification/repository.py",
        source="earlier.order_seq < notifications.order_seq",
        mutated="earlier.order_seq < 0",
        tests=["tests/notification/test_claims.py"],
    ),
    Mutation(
        breaks="a mail that somebody else is sending by now is closed",
        file="services/notification/repository.py",
        source="WHERE {DUE_NOTIFICATIONS.still_claimed}\n        RETURNING id",
        mutated="WHERE id = %(claimed_key)s AND status = 'PENDING' AND %(claimed_until)s IS NOT NULL RETURNING id",
        tests=["tests/notification/test_claims.py"],
    ),
    Mutation(
        breaks="notifications of one user that end at once have one number",
        file="services/notification/service.py",
        source="                    seq = await repository.next_seq(due.id)",
        mutated="                    return False",
        tests=["tests/notification/test_claims.py"],
    ),
    Mutation(
        breaks="an id stands for any message",
        file="services/notification/service.py",
        source="if stored is None or stored.fingerprint != message.fingerprint:",
        mutated="if stored is None:",
        tests=["tests/notification/test_written_messages.py"],
    ),
    Mutation(
        breaks="a refresh token that is used twice revokes nothing",
        file="services/user/refresh_tokens.py",
        source="if await repository.revoke_family(token_hash):",
        mutated="if token_hash:",
        tests=["tests/user/test_refresh_tokens.py"],
    ),
    Mutation(
        breaks="an unknown e-mail costs no work",
        file="services/user/service.py",
        source="        matches = await self._passwords.verify(",
        mutated="        matches = user is not None and await self._passwords.verify(",
        tests=["tests/user/test_service.py"],
    ),
    Mutation(
        breaks="a password is hashed for a caller that has gone",
        file="services/user/passwords.py",
        source="if left is not None and left <= 0:",
        mutated="if left is not None and left is None:",
        tests=["tests/unit/test_passwords.py"],
    ),
    Mutation(
        breaks="a product is changed whatever version was expected",
        file="services/product/service.py",
        source="if expected_versions and product.seq not in expected_versions:",
        mutated="if expected_versions and product.seq in ():",
        tests=["tests/product/test_changes.py"],
    ),
    Mutation(
        breaks="a change that changes nothing makes a version",
        file="services/product/model.py",
        source="if value not in (None, getattr(product, name))}",
        mutated="if value is not None}",
        tests=["tests/product/test_changes.py"],
    ),
    Mutation(
        breaks="a guest reads every order with the token of one",
        file="runtime/caller.py",
        source="return bool(order_id) and self.order_id == order_id",
        mutated="return bool(order_id)",
        tests=["tests/unit/test_tokens.py"],
    ),
    Mutation(
        breaks="whoever opens an account with somebody's address has their orders, unconfirmed",
        file="services/user/guests/repository.py",
        source="AND confirmed_at IS NOT NULL AND disabled_at IS NULL",
        mutated="AND disabled_at IS NULL",
        tests=["tests/gateway/test_guest_adoption.py"],
    ),
    Mutation(
        breaks="a guest's order is adopted before its payment is opened, which stays the guest's",
        file="services/order/guests/service.py",
        source="if order.status is OrderStatus.RECEIVED:",
        mutated="if False:",
        tests=["tests/gateway/test_guest_adoption.py"],
    ),
    Mutation(
        breaks="the first mail to an address greets it with a name that a stranger gave",
        file="services/notification/service.py",
        source='return replace(guest, recipient=replace(guest.recipient, name=""))',
        mutated="return guest",
        tests=["tests/gateway/test_guest_orders.py"],
    ),
)
