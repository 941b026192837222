"""How a call of Stripe can fail, and what Stripe cannot be asked for."""

from __future__ import annotations

from domain.refusals import Refusal
from runtime.refusal import Refused, Unavailable


class PaymentRejected(Refused):
    """Stripe cannot be asked for this payment, or refused the request itself."""

    refusal = Refusal.PAYMENT_REJECTED


class StripeUnavailable(Unavailable):
    """No usable answer; what the call did is unknown. The same call with the same key may be repeated."""


class StripeBusy(StripeUnavailable):
    """Stripe was not asked: as many calls as may be are under way, or have been made this second."""


class PaymentNeedsStripe(Refused):
    """Stripe would have to be asked, which the caller did not want. What needs no Stripe may have been done before."""

    refusal = Refusal.PAYMENT_NEEDS_STRIPE


class StripePermissionMissing(StripeUnavailable):
    """Our key may not make this call: somebody has to give it the permission, and no order fails for it."""


class StripeLookupRefused(StripeUnavailable):
    """Stripe refuses a look-up of ours: what is looked for is not there, or not ours. It will as things stand."""


class StripeKeySpent(StripeUnavailable):
    """The idempotency key stands for a failure, or for another request: repeating is in vain.

    Look for what it made before the next generation's key is used.
    """


class StripeStoredRefusal(StripeKeySpent):
    """The key stands for a refusal of some time ago: nothing was made with it, and another key is asked anew."""


class StripeRefused(Exception):
    """Stripe refused the request itself; the message is Stripe's own, meant for whoever made the request."""


class StripeSettingRefused(StripeRefused):
    """What Stripe does not take is a setting of ours, and nothing of the order, which it takes once that is mended."""


class StripeChargeDisputed(StripeRefused):
    """A dispute holds the money, or took it for good: it cannot be refunded."""


class StripeUnexpectedState(StripeRefused):
    """The intent's status forbids the call: it has moved on since it was read."""


class StripeDeclined(Exception):
    """The charge failed: an answer, whose details a re-read of the intent shows."""


class UnreadableEvent(Exception):
    """This is no event of Stripe's v1 API; the message says why."""
