"""Score files of UGC-VideoCaptioner's evaluation: a judge's grades, as its script leaves them.

::

    {"evaluations": {VIDEO: {"visual_score": 4, "audio_score": 3, "details_score": 4, ...}, ...}}

Its averages are not read: they follow from the grades.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from actors.storage.access import open_range
from rayjob.evaluation.rubrics import LIKERT
from rayjob.evaluation.scores import Score
from rayjob.evaluation.suites.ugc import DIMENSIONS, UgcSuite
from schemas.errors import OpenError, SourceError
from schemas.media import StorageOptions

_FAILED = "0 in the file: a call of the judge that failed"


def is_score_file(where: str) -> bool:
    """Whether the name is one of a score file."""
    return where.lower().endswith(".json")


def load_score_file(where: str, storage: StorageOptions) -> UgcSuite:
    """A suite of which all is scored already.

    Grades of 0, which the script writes where a call of its judge failed, are unscored, and a note
    says what the figures are with them.

    Raises:
        SourceError: it cannot be read, or is not such a file.
    """
    try:
        with open_range(os.path.expanduser(where), storage) as file:
            data = json.load(file)
    except OpenError as error:
        raise SourceError(f"{where} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} is not JSON: {error}") from None
    evaluations = data.get("evaluations") if isinstance(data, dict) else None
    if not isinstance(evaluations, dict) or not evaluations:
        raise SourceError(f"{where} has no scores: an object 'evaluations' with one for each video")
    suite = UgcSuite((), {}, ())
    for video_id, grades in evaluations.items():
        if not isinstance(grades, dict) or not _names(grades):
            raise SourceError(
                f"{where}, video {video_id!r}: none of {', '.join(map(_key, DIMENSIONS))}"
            )
        suite.computed += [_score(video_id, name, grades.get(_key(name))) for name in DIMENSIONS]
    failed = [score for score in suite.computed if score.reason == _FAILED]
    if failed:
        means = {name: _mean_with_zeros(suite, name) for name in DIMENSIONS}
        told = ", ".join(f"{name} {mean:.1f}" for name, mean in means.items())
        average = sum(means.values()) / len(means)
        suite.notes.append(
            f"{len(failed)} grades are 0, where a call of the judge failed, and are unscored; the "
            f"published script averages them in: {told}, average {average:.2f}"
        )
    return suite


def _key(name: str) -> str:
    return f"{name}_score"


def _names(grades: Mapping[str, Any]) -> list[str]:
    return [name for name in DIMENSIONS if _key(name) in grades]


def _score(video_id: str, name: str, given: Any) -> Score:
    reading = LIKERT.read(given)
    reason = "not in the file" if given is None else _FAILED if given == 0 else reading.reason
    value = reading.value if isinstance(reading.value, float) else None
    return Score(
        video_id=video_id,
        dimension=name,
        score=value,
        reason=None if value is not None else reason,
        judge_model="the file's",
    )


def _mean_with_zeros(suite: UgcSuite, name: str) -> float:
    """In percent."""
    grades = [
        score.score or 0.0
        for score in suite.computed
        if score.dimension == name and (score.score is not None or score.reason == _FAILED)
    ]
    return 100 / 5 * sum(grades) / len(grades) if grades else 0.0
