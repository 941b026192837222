"""Idempotency keys: the first answer is kept and given again (https://docs.stripe.com/api/idempotent_requests).

Keys belong to the account, whatever the endpoint. An answer is stored once execution began, a 500 included; what is
refused before (parameters that do not fit, a concurrent duplicate) is not. Keys expire after 24 hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.stripe.clock import Clock
from sandbox.stripe.errors import ApiError, ErrorType, invalid
from sandbox.stripe.store import Answer, Store

EXPIRY = 24 * 3600.0
_MAX_KEY = 255


class IdempotencyKeys:
    """The keys in use and those with a stored answer."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._executing: set[str] = set()
        store.forget_answers(before=clock.now() - EXPIRY)

    def stored(self, key: str, fingerprint: str) -> Answer | None:
        """The answer to give again, or None when the call is to be executed.

        Raises:
            ApiError: 400 ``idempotency_error`` when the first call had other parameters, 409
                ``idempotency_key_in_use`` while it executes, 400 for a key that is too long.
        """
        if len(key) > _MAX_KEY:
            raise invalid(f"Idempotency keys are limited to {_MAX_KEY} characters")
        if key in self._executing:
            raise ApiError(
                409,
                "There is currently another in-progress request using this Stripe-Idempotency-Key (that probably "
                f"means you submitted twice, and the other request is still going through): {key}. Please try again "
                "later.",
                kind=ErrorType.IDEMPOTENCY,
                code="idempotency_key_in_use",
            )
        answer = self._store.answer(key)
        if answer is None or answer.at <= self._clock.now() - EXPIRY:
            return None
        if answer.fingerprint != fingerprint:
            raise ApiError(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                kind=ErrorType.IDEMPOTENCY,
            )
        return answer

    @contextmanager
    def executing(self, key: str | None) -> Iterator[None]:
        """Hold a key while its call executes."""
        if key is None:
            yield
            return
        self._executing.add(key)
        try:
            yield
        finally:
            self._executing.discard(key)
