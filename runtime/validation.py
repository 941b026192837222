"""Checks of what comes in over gRPC: collect every violation, then refuse once, naming each field."""

from __future__ import annotations

from collections.abc import Iterable

from domain.emails import MAX_EMAIL, is_email
from domain.ids import is_id
from domain.money import EXPONENTS, MAX_AMOUNT
from domain.names import holds_address
from domain.order_numbers import is_written_as_number
from domain.orders import MAX_LINES, MAX_QUANTITY, OrderLine
from domain.texts import PLAIN_LINE_RULE, PLAIN_LINES_RULE, is_plain_line, is_plain_lines
from ordersaga.common.v1 import order_line_pb2
from runtime.cursors import decode_cursor
from runtime.refusal import InvalidArgument


class Violations:
    """Collects what is wrong with a request, by field; use as ``with Violations() as violations:``."""

    def __init__(self) -> None:
        self._violations: dict[str, str] = {}

    def __enter__(self) -> Violations:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._violations:
            raise InvalidArgument.of(self._violations)

    def add(self, field: str, violation: str) -> None:
        """Note what is wrong with a field; the first violation of a field stands."""
        self._violations.setdefault(field, violation)

    def check_id(self, field: str, value: str) -> None:
        """A UUID in canonical form."""
        if not is_id(value):
            self.add(field, "must be a UUID in lower case with hyphens")

    def check_order(self, field: str, value: str) -> None:
        """An order's id, or what somebody wrote for its number, correct or not."""
        if not is_id(value) and not is_written_as_number(value):
            self.add(field, "must be a UUID in lower case with hyphens, or an order's number such as 7KQ2-M9XD")

    def check_text(self, field: str, value: str, *, longest: int, shortest: int = 1) -> None:
        """Text that nobody is shown, such as a password: so many characters, without NUL, which PostgreSQL refuses."""
        if not shortest <= len(value) <= longest:
            self.add(field, f"must have {shortest} to {longest} characters")
        elif "\x00" in value:
            self.add(field, "must not hold a NUL character")

    def check_plain_line(self, field: str, value: str, *, longest: int, shortest: int = 1) -> None:
        """Text of so many characters that other people are shown, see `domain.texts`."""
        if not shortest <= len(value) <= longest:
            self.add(field, f"must have {shortest} to {longest} characters")
        elif value and not is_plain_line(value):
            self.add(field, f"must be a line {PLAIN_LINE_RULE}")

    def check_plain_lines(self, field: str, value: str, *, longest: int, shortest: int = 1) -> None:
        """The same of text that may have several lines."""
        if not shortest <= len(value) <= longest:
            self.add(field, f"must have {shortest} to {longest} characters")
        elif value and not is_plain_lines(value):
            self.add(field, f"must be text {PLAIN_LINES_RULE}")

    def check_name(self, field: str, value: str, *, longest: int) -> None:
        """What somebody says that they are called, see `domain.names`: a line that is seen, and no link."""
        self.check_plain_line(field, value, longest=longest)
        if holds_address(value):
            self.add(field, "must hold no web or e-mail address; put a space behind a full stop")

    def check_email(self, field: str, value: str) -> None:
        """An address that mails can go to."""
        self.check_text(field, value, longest=MAX_EMAIL)
        if not is_email(value):
            self.add(field, "must be an e-mail address, for example customer@example.test")

    def check_range(self, field: str, value: int, *, smallest: int, largest: int) -> None:
        """A whole number within bounds."""
        if not smallest <= value <= largest:
            self.add(field, f"must be from {smallest} to {largest}")

    def check_currency(self, field: str, value: str) -> None:
        """An ISO 4217 code of a currency that circulates."""
        if value not in EXPONENTS:
            self.add(field, "must be an ISO 4217 currency code in capitals, for example EUR")

    def check_amount(self, field: str, value: int, *, smallest: int = 0) -> None:
        """Money in minor units."""
        self.check_range(field, value, smallest=smallest, largest=MAX_AMOUNT)

    def check_page_token(self, field: str, value: str) -> str | None:
        """Nothing, or a page token of ours; answers with the id of the item that the page comes after."""
        if not value:
            return None
        try:
            return decode_cursor(value)
        except ValueError:
            self.add(field, "must be empty or the next_page_token of the page before")
            return None

    def check_lines(self, field: str, lines: Iterable[order_line_pb2.OrderLine]) -> list[OrderLine]:
        """Order lines, each product once."""
        checked = [OrderLine(product_id=line.product_id, quantity=line.quantity) for line in lines]
        if not 1 <= len(checked) <= MAX_LINES:
            self.add(field, f"must have 1 to {MAX_LINES} lines")
        for index, line in enumerate(checked):
            self.check_id(f"{field}[{index}].product_id", line.product_id)
            self.check_range(f"{field}[{index}].quantity", line.quantity, smallest=1, largest=MAX_QUANTITY)
        if len({line.product_id for line in checked}) < len(checked):
            self.add(field, "must name each product once")
        return checked
