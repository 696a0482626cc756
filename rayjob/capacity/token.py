"""The token that a Ray cluster asks for: found as Ray finds it, its lack told in a sentence.

Ray reads once, on import, whether tokens are used, and a client of an address that is named leaves
a token unused that lies in the home folder. The two functions of Ray's that mend this are private.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.exceptions import AuthenticationError

from schemas.errors import ConfigError

_STORE_IT = (
    "store the cluster's own in ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH "
    "(docs/cluster.md)"
)


def token_headers() -> dict[str, str]:
    """Use the token at hand from now on in this process; returns it as headers of a request.

    It stands in ``RAY_AUTH_TOKEN``, in the file of ``RAY_AUTH_TOKEN_PATH``, or in
    ``~/.ray/auth_token``. Empty where there is none, or with ``RAY_AUTH_MODE=disabled``.

    Raises:
        ConfigError: ``RAY_AUTH_MODE=token`` without a token, or the file cannot be read.
    """
    # Ray tells everyone who has a token how to do without.
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        headers: dict[str, str] = get_auth_headers_if_auth_enabled({})
    except AuthenticationError as error:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        what = (
            f"RAY_AUTH_TOKEN_PATH={path} cannot be read, or is empty" if path else "there is none"
        )
        raise ConfigError(f"no token for a Ray cluster, {what}: {_STORE_IT}") from error
    return headers


def check_answer(where: str, headers: Mapping[str, str], *, admitted: bool, without: bool) -> None:
    """Whether a cluster and this process agree about the token.

    Args:
        where: the cluster's address.
        headers: of :func:`token_headers`.
        admitted: a request with these headers was answered.
        without: one with no token was, or would be.

    Raises:
        ConfigError: they do not.
    """
    if not admitted:
        what = "does not take this token" if headers else "wants a token, and none is used here"
        raise ConfigError(f"the cluster at {where} {what}: {_STORE_IT}")
    if headers and without:
        raise ConfigError(
            f"the cluster at {where} wants no token, so that anyone who reaches it can run code "
            "there: start it with one, or set RAY_AUTH_MODE=disabled to use it as it is"
        )
