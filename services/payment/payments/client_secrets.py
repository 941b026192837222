"""Client secrets, with which a customer's browser pays: kept sealed until the payment is decided.

So nobody who polls an order makes a call of Stripe's. The key is made of Stripe's API key: whoever has that could ask
Stripe for the secret as well, and nobody else can read what is stored. Once the API key is another one, what was sealed
before cannot be read any more, and Stripe is asked.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"ordersaga: client secrets of payment intents"


class ClientSecrets:
    """Seals client secrets and opens them again.

    Args:
        api_key: Stripe's.
    """

    def __init__(self, api_key: str) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(api_key.encode())
        self._cipher = AESGCM(key)

    def seal(self, secret: str, *, intent_id: str) -> bytes:
        """The secret of an intent, for nobody to read."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), intent_id.encode())

    def open(self, sealed: bytes, *, intent_id: str) -> str | None:
        """The secret; None where it was sealed with another API key, or for another intent."""
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, encrypted, intent_id.encode()).decode()
        except InvalidTag:
            return None
