"""What the user service refuses. No message repeats an e-mail or a token: messages may be logged."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused


class UserNotFound(Refused):
    """There is no such account, or it is not the caller's to see."""

    refusal = Refusal.USER_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is no user {user_id}", user_id=user_id)


class UserErased(Refused):
    """There was such an account, whose holder was erased."""

    refusal = Refusal.USER_ERASED
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is no user {user_id} any more", user_id=user_id)


class EmailTaken(Refused):
    """Another account has this e-mail, in whatever case."""

    refusal = Refusal.EMAIL_TAKEN
    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self) -> None:
        super().__init__("another account has this e-mail")


class BadCredentials(Refused):
    """The e-mail and the password do not belong together; which of them is wrong is not said."""

    refusal = Refusal.BAD_CREDENTIALS
    code = grpc.StatusCode.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("e-mail or password is wrong")


class AccountDisabled(Refused):
    """The password is right, and an admin has disabled the account."""

    refusal = Refusal.ACCOUNT_DISABLED
    code = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self) -> None:
        super().__init__("this account is disabled; the shop's support can say why")


class LastAdmin(Refused):
    """Nobody would be left who could make another admin."""

    refusal = Refusal.LAST_ADMIN

    def __init__(self, user_id: str) -> None:
        super().__init__(f"user {user_id} is the last admin; make another one first", user_id=user_id)


class SessionNotFound(Refused):
    """The caller has no such session, or it has ended."""

    refusal = Refusal.SESSION_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session {session_id}", session_id=session_id)


class LinkNotValid(Refused):
    """No link of ours, or one that was used, has expired, or is about what has changed since."""

    refusal = Refusal.LINK_NOT_VALID

    def __init__(self) -> None:
        super().__init__("this link is not valid, or not any more; ask for a new one")


class TooManyMails(Refused):
    """So many mails went out for the account that another one has to wait."""

    refusal = Refusal.TOO_MANY_MAILS
    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self) -> None:
        super().__init__("several mails of this kind were sent to you within the last hour; look for them, or wait")


class InvalidRefreshToken(Refused):
    """No refresh token of ours, or one of a family that was revoked."""

    refusal = Refusal.INVALID_REFRESH_TOKEN
    code = grpc.StatusCode.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid; log in again")


class ExpiredRefreshToken(Refused):
    """A refresh token that was not used in time."""

    refusal = Refusal.EXPIRED_REFRESH_TOKEN
    code = grpc.StatusCode.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("the refresh token has expired; log in again")


class RefreshTokenReused(Refused):
    """A refresh token came a second time: somebody else may have it, so its family is revoked."""

    refusal = Refusal.REFRESH_TOKEN_REUSED
    code = grpc.StatusCode.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("the refresh token was used before; all tokens of its login are revoked, log in again")
