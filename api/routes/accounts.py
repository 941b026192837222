"""One's own address and password, and the links that are mailed for them.

Whoever has a link's token may use it: it is in the mail alone, and works once.
"""

from __future__ import annotations

from litestar import delete, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, admin, signed_in
from api.problems import declared
from api.references import UserId
from api.schemas.fields import Empty
from api.schemas.users import (
    EmailChange,
    EmailConfirmation,
    Erasure,
    PasswordChange,
    PasswordReset,
    PasswordResetRequest,
)
from api.services import Services
from api.validation import StrictJson
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import ANONYMOUS
from runtime.protos import to_proto
from runtime.rpc_client import call
from runtime.validation import Violations


@post(
    "/v1/users/me/confirmation",
    operation_id="requestConfirmation",
    summary="Have one's address confirmed by a mail, once more",
    tags=["users"],
    status_code=202,
    guards=[signed_in],
    security=SECURITY,
    responses=declared(401, 403, 404, 429),
)
async def request_confirmation(request: SignedInRequest, services: NamedDependency[Services]) -> Empty:
    """Have another mail sent whose link confirms one's address; none is sent once it is confirmed.

    The first one is sent when an account is opened. `too-many-mails` after several within an hour.
    """
    await call(
        services.user.RequestConfirmation,
        pb.RequestConfirmationRequest(),
        caller=request.user,
        deadline=services.deadline,
    )
    return Empty()


@post(
    "/v1/confirmations",
    operation_id="confirmEmail",
    summary="Confirm an address",
    tags=["users"],
    status_code=204,
    dto=StrictJson[EmailConfirmation],
    responses=declared(400, 409, 413, 415),
)
async def confirm_email(data: JSONBody[EmailConfirmation], services: NamedDependency[Services]) -> None:
    """Confirm the address that a link was mailed to, with the link's token. A repeat is no error.

    A new address becomes the account's by that, and the one before is told; `email-taken` if another account has it by
    now. `link-not-valid` for a token that is unknown, used or expired, or whose account has another address by now.
    """
    await call(
        services.user.ConfirmEmail,
        to_proto(pb.ConfirmEmailRequest, data),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )


@post(
    "/v1/password-resets",
    operation_id="requestPasswordReset",
    summary="Forgotten password: have a link mailed",
    tags=["users"],
    status_code=202,
    dto=StrictJson[PasswordResetRequest],
    responses=declared(400, 413, 415),
)
async def request_password_reset(data: JSONBody[PasswordResetRequest], services: NamedDependency[Services]) -> Empty:
    """Have a link mailed to the account with this address, whose reader may choose a password.

    Whether there is such an account, neither the answer nor its time says.
    """
    await call(
        services.user.RequestPasswordReset,
        to_proto(pb.RequestPasswordResetRequest, data),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    return Empty()


@post(
    "/v1/password-resets/confirm",
    operation_id="resetPassword",
    summary="Forgotten password: choose another one",
    tags=["users"],
    status_code=204,
    dto=StrictJson[PasswordReset],
    responses=declared(400, 413, 415),
)
async def reset_password(data: JSONBody[PasswordReset], services: NamedDependency[Services]) -> None:
    """Choose the password of the account that a link was mailed to, with the link's token, once.

    All sessions of the account end, and it is told by a mail. `link-not-valid` as for `confirmEmail`.
    """
    await call(
        services.user.ResetPassword,
        to_proto(pb.ResetPasswordRequest, data),
        caller=ANONYMOUS,
        deadline=services.password_deadline,
    )


@put(
    "/v1/users/me/password",
    operation_id="changePassword",
    summary="Change one's password",
    tags=["users"],
    status_code=204,
    guards=[signed_in],
    security=SECURITY,
    dto=StrictJson[PasswordChange],
    responses=declared(400, 401, 403, 404, 413, 415),
)
async def change_password(
    request: SignedInRequest, data: JSONBody[PasswordChange], services: NamedDependency[Services]
) -> None:
    """Change one's password, given the current one; `bad-credentials` for a wrong one.

    All other sessions end, and the account is told by a mail.
    """
    await call(
        services.user.ChangePassword,
        to_proto(pb.ChangePasswordRequest, data),
        caller=request.user,
        deadline=services.password_deadline,
    )


@put(
    "/v1/users/me/email",
    operation_id="changeEmail",
    summary="Change one's address",
    tags=["users"],
    status_code=202,
    guards=[signed_in],
    security=SECURITY,
    dto=StrictJson[EmailChange],
    responses=declared(400, 401, 403, 404, 409, 413, 415, 429),
)
async def change_email(
    request: SignedInRequest, data: JSONBody[EmailChange], services: NamedDependency[Services]
) -> Empty:
    """Have a link mailed to another address: it counts once `confirmEmail` has the link's token.

    `bad-credentials` for a wrong password, `email-taken` if another account has the address.
    """
    await call(
        services.user.ChangeEmail,
        to_proto(pb.ChangeEmailRequest, data),
        caller=request.user,
        deadline=services.password_deadline,
    )
    return Empty()


@delete(
    "/v1/users/me",
    operation_id="eraseCurrentUser",
    summary="Erase oneself",
    tags=["users"],
    guards=[signed_in],
    security=SECURITY,
    dto=StrictJson[Erasure],
    responses=declared(400, 401, 403, 404, 409, 413, 415),
)
async def erase_current_user(
    request: SignedInRequest, data: JSONBody[Erasure], services: NamedDependency[Services]
) -> None:
    """Erase one's account, given its password; `bad-credentials` for a wrong one, `last-admin` for the last admin.

    It is gone at once. Orders stay, without name and address, which the shop forgets as soon as they have ended.
    """
    await call(
        services.user.EraseUser,
        pb.EraseUserRequest(user_id=request.user.id, current_password=data.current_password),
        caller=request.user,
        deadline=services.password_deadline,
    )


@delete(
    "/v1/users/{user_id:str}",
    operation_id="eraseUser",
    summary="Erase somebody",
    tags=["users"],
    guards=[admin],
    security=SECURITY,
    responses=declared(400, 401, 403, 404, 409),
)
async def erase_user(request: SignedInRequest, user_id: UserId, services: NamedDependency[Services]) -> None:
    """Erase somebody else's account, as `eraseCurrentUser` does one's own. Admins only."""
    with Violations() as violations:
        violations.check_id("user_id", user_id)
        if user_id == request.user.id:
            violations.add("user_id", "must be somebody else's; erase your own account at /v1/users/me")
    await call(
        services.user.EraseUser,
        pb.EraseUserRequest(user_id=user_id),
        caller=request.user,
        deadline=services.deadline,
    )
