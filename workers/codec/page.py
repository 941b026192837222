"""The page at which an admin signs in, for browsers whose Web UI has no token of ours to pass on."""

from __future__ import annotations

from html import escape
from typing import Final

from litestar import Response
from litestar.datastructures import Cookie

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ordersaga: payloads</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 4rem auto; padding: 0 1rem; }}
  label, input, button {{ display: block; width: 100%; box-sizing: border-box; font: inherit; }}
  input {{ margin: .25rem 0 1rem; padding: .5rem; }}
  button {{ padding: .6rem; cursor: pointer; }}
  .error {{ color: #b00020; }}
</style>
<h1>Encrypted payloads</h1>
{body}
</html>
"""
_FORM: Final = """<p>Sign in as an admin of the shop. For as long as an access token lives, the Temporal Web UI in this
browser then shows what is in payloads.</p>
{error}
<form method="post" action="/sign-in">
  <label>E-mail <input name="email" type="email" autocomplete="username" required autofocus></label>
  <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
  <button>Sign in</button>
</form>"""
_SIGNED_IN: Final = """<p>You are signed in. {where}</p>
<form method="post" action="/sign-out"><button>Sign out</button></form>"""
_WHERE: Final = (
    'In the <a href="{origin}">Web UI</a> this address has to be entered under <em>Codec server</em>, with '
    "<em>Include cross-origin credentials</em> on."
)
_NOWHERE: Final = "No Web UI may ask this server yet: set ORDERSAGA_CODEC_ORIGIN to its origin."


def sign_in_page(*, error: str = "", status: int = 200, retry_after: int | None = None) -> Response[str]:
    """With the form; an error is said above it, and when to try again where that is known."""
    said = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    page = _html(_FORM.format(error=said), status=status)
    if retry_after is not None:
        page.headers["Retry-After"] = str(retry_after)
    return page


def signed_in_page(*, origin: str | None) -> Response[str]:
    """Says what is to be done in the Web UI of this origin."""
    where = _NOWHERE if origin is None else _WHERE.format(origin=escape(origin))
    return _html(_SIGNED_IN.format(where=where))


def to_start(cookie: Cookie) -> Response[str]:
    """Back to the first page, with this cookie."""
    return Response("", status_code=303, headers={"Location": "/"}, cookies=[cookie])


def _html(body: str, *, status: int = 200) -> Response[str]:
    return Response(_PAGE.format(body=body), status_code=status, media_type="text/html", headers=_HEADERS)
