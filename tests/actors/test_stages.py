"""What an error of a video becomes."""

from typing import Any

import pytest

from actors.stages import failure_of
from actors.storage.uris import public_uri
from schemas.errors import CorruptMediaError, CredentialsError


def row(**changes: Any) -> dict[str, Any]:
    known = {"video_id": "a.mp4", "uri": "s3://b/a.mp4", "attempts": 0, "metadata": None}
    return known | {"source_version": None} | changes


@pytest.mark.parametrize(
    ("error", "attempts", "transient"),
    [
        (CorruptMediaError("broken"), 0, False),
        (CredentialsError("expired"), 7, True),
        # Nobody foresaw it: a few runs try, in case it lay in the machine.
        (RuntimeError("CUDA error: unspecified launch failure"), 0, True),
        (RuntimeError("again"), 1, True),
        (RuntimeError("and again"), 2, False),
    ],
)
def test_what_a_later_run_tries_again(error: Exception, attempts: int, transient: bool) -> None:
    failure = failure_of(row(attempts=attempts), error, stage="decode")
    assert failure.transient is transient
    assert failure.attempts == attempts + 1
    assert ("unforeseen" in failure.message) is isinstance(error, RuntimeError)


@pytest.mark.parametrize(
    ("uri", "stored"),
    [
        ("s3://b/what?#.mp4", "s3://b/what?#.mp4"),
        ("/data/a?b.mp4", "/data/a?b.mp4"),
        ("https://host/watch?v=12&t=3", "https://host/watch?v=12&t=3"),
        ("https://me:hushhush@host/a.mp4", "https://host/a.mp4"),
        ("https://b.s3.amazonaws.com/a.mp4?X-Amz-Expires=9&X-Amz-Signature=hushhush",
         "https://b.s3.amazonaws.com/a.mp4"),
        ("https://host/a.mp4?v=1&sig=hushhush", "https://host/a.mp4?v=1"),
        ("ftp://me:hushhush@host/a.mp4?v=1", "ftp://host/a.mp4?v=1"),
    ],
)  # fmt: skip
def test_a_table_holds_no_signature(uri: str, stored: str) -> None:
    assert public_uri(uri) == stored
    failure = failure_of(row(uri=uri), CorruptMediaError("broken"), stage="decode")
    assert failure.uri == stored


@pytest.mark.parametrize(
    "query",
    [
        *(f"{name}=hushhush" for name in (
            "sharekey", "auth", "hdnea", "access_token", "apikey", "key", "ACCESS_KEY", "",
            "t=3&%74oken", "v=1;secret",
        )),
        "hushhush",
        "v=1;hushhush",
    ],
)  # fmt: skip
def test_a_table_holds_no_secret_of_a_query(query: str) -> None:
    stored = public_uri(f"https://host/a.mp4?{query}")
    assert "hushhush" not in stored
    assert public_uri(stored) == stored
