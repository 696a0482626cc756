"""From an error to its cause, and from the cause to what a later run does."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

import schemas.errors
from schemas.errors import (
    DOUBTFUL,
    AccessDeniedError,
    Cause,
    CorruptMediaError,
    CredentialsError,
    DecoderCrashedError,
    DecoderFaultError,
    DecodeTimeoutError,
    IncompleteError,
    NoSuchPlaceError,
    NotFoundError,
    PromptTooLongError,
    StorageUnavailableError,
    VideoError,
)

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        (CorruptMediaError("x"), 1),
        (NotFoundError("x"), 1),
        (PromptTooLongError("x"), 1),
        (DecoderCrashedError("more than 1400 MB of memory"), 1),
        (AccessDeniedError("HTTP 403"), 3),
        (DecodeTimeoutError("not decoded within 300 s"), 3),
        (DecoderCrashedError("killed by SIGKILL", died=True), 3),
        (DecoderFaultError("does not start"), 3),
        (RuntimeError("CUDA error"), 3),
        (CredentialsError("expired"), None),
        (StorageUnavailableError("503"), None),
        (NoSuchPlaceError("no such bucket"), None),
    ],
)
def test_how_often_runs_try(error: Exception, runs: int | None) -> None:
    cause = Cause.of(pickle.loads(pickle.dumps(error)) if runs else error)
    again = [attempts for attempts in range(1, 100) if cause.is_tried_again(attempts)]
    assert len(again) == (99 if runs is None else runs - 1)


def test_a_part_that_failed_has_the_cause_of_what_stopped_it() -> None:
    assert Cause.of(IncompleteError("x", cause=Cause.TIME)) is Cause.TIME


def test_what_was_looked_at_accuses_nobody_else() -> None:
    assert not {CorruptMediaError.cause.value, NotFoundError.cause.value} & DOUBTFUL
    assert {AccessDeniedError.cause.value, DecodeTimeoutError.cause.value} <= DOUBTFUL


def test_the_page_has_the_same_table() -> None:
    """Each cause with its tries, what it accuses, and every error that has it."""
    lines = re.findall(
        r"^\| `(\w+)` \|[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.M
    )
    told = {value: (tries, doubtful, set(re.findall(r"`(\w+)`", errors)))
            for value, errors, tries, doubtful in lines}  # fmt: skip
    errors: dict[str, set[str]] = {cause.value: set() for cause in Cause}
    for name, kind in vars(schemas.errors).items():
        is_leaf = isinstance(kind, type) and issubclass(kind, VideoError)
        if is_leaf and kind not in (VideoError, *VideoError.__subclasses__(), IncompleteError):
            errors[kind.cause.value].add(name)
    assert told.keys() == errors.keys()
    for cause in Cause:
        tries, doubtful, named = told[cause.value]
        assert tries == ("every run" if cause.tries is None else str(cause.tries)), cause
        assert doubtful == ("yes" if cause.doubtful else "no"), cause
        assert named >= errors[cause.value], cause
