"""Calls of the Hub's client that outlast a busy server, and the words for those that fail.

A call is made again after 1, 2, 4, 8 and 16 seconds, or as long as the server asks for, where the answer was
408, 429 or 5xx, or there was none. So every call that goes through here must be harmless when made twice.
The token is the client's own affair; should an error quote it, it is struck out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from surgery.errors import UploadError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Result = TypeVar("Result")

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try."""
_LONGEST_WAIT = 300.0
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


def api() -> HfApi:
    """The client, with the endpoint and the token that its own settings name."""
    from huggingface_hub import HfApi

    return HfApi(library_name="surgery")


def steady(what: str, call: Callable[[], Result]) -> Result:
    """Make a call until it succeeds or has failed too often.

    Args:
        what: what is being done, for the message: `merging pull request 3 of org/name`.

    Raises:
        UploadError: the Hub refused, or could not be reached.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except failures() as error:
            if wait is None or not _passes(error):
                raise UploadError(f"{what}: {_unreached(error)}{reason(error)}") from error
            time.sleep(max(wait, _asked_for(error)))
    raise AssertionError("the last round returns or raises")


def reason(error: BaseException) -> str:
    """What went wrong, on one line and without the token; of a chain the innermost that says something."""
    from huggingface_hub import get_token

    chain = [error]
    while chain[-1].__cause__ is not None and getattr(chain[-1], "response", None) is None:
        chain.append(chain[-1].__cause__)
    said = next((text for text in (" ".join(str(each).split()) for each in reversed(chain)) if text), "")
    token = get_token()
    return (said.replace(token, "…") if token else said) or type(error).__name__


def _unreached(error: BaseException) -> str:
    """Where there was no answer at all, what was asked, and what may help."""
    if getattr(error, "response", None) is not None or not isinstance(error, _transport_error()):
        return ""
    return f"{api().endpoint} does not answer (check the network, and HF_ENDPOINT if it is set): "


def failures() -> tuple[type[Exception], ...]:
    """What the client raises where the Hub refuses or cannot be reached."""
    from huggingface_hub.errors import HfHubHTTPError

    # Its bases are OSError and the error of whichever HTTP library this version of the client is built on. A
    # name that is not valid is a ValueError.
    return (*HfHubHTTPError.__bases__, ValueError, RuntimeError)


def _passes(error: BaseException) -> bool:
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in _PASSING
    return isinstance(error, _transport_error())


def _transport_error() -> type[BaseException]:
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__bases__ if base is not OSError)


def _asked_for(error: BaseException) -> float:
    response = getattr(error, "response", None)
    value = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_WAIT) if value.isdigit() else 0.0
