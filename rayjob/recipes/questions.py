"""Questions about videos, in the files of UGC-VideoCap's benchmark.

One JSON file for each kind, named after it::

    {"question": "...",
     "samples": [{"video_id": "7301", "answer": "Calm", "options": ["calm", "tense"]}]}

A sample may have a ``question`` of its own. With ``options`` it is a choice; where the answer is a
list, objects with their ``count`` are asked for; else it is answered in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rayjob.recipes.rules import Rule
from rayjob.recipes.wording import words
from schemas.errors import ConfigError
from schemas.recipe import Answer

AnswerForm = Literal["choice", "objects", "words"]


@dataclass(frozen=True, kw_only=True)
class VideoQuestion:
    """One question about one video.

    Attributes:
        kind: name of its file, without the ending.
        answer: the right one, as the file has it.
        options: what a choice is among, as the file has them.
    """

    video_id: str
    kind: str
    question: str
    answer: Any
    options: tuple[str, ...] = ()

    @property
    def form(self) -> AnswerForm:
        """What is asked for."""
        if self.options:
            return "choice"
        return "objects" if isinstance(self.answer, list) else "words"

    def text(self) -> str:
        """What the model is asked, with the form that its answer is to have."""
        if self.form == "choice":
            listed = "\n".join(f"- {option}" for option in self.options)
            return f"{self.question}\n\nAnswer with one of these, and nothing else:\n{listed}"
        if self.form == "objects":
            return (
                f"{self.question}\n\nAnswer with a JSON list of objects: name, count, description."
            )
        return (
            f"{self.question}\n\nAnswer in a few words or sentences, with nothing but the answer."
        )


OBJECTS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": 50,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "count": {"type": "integer"},
            "description": {"type": "string"},
        },
        "required": ["name", "count", "description"],
        "additionalProperties": False,
    },
}
"""What the engine may answer where objects are asked for."""


def load_questions(where: str) -> dict[str, list[VideoQuestion]]:
    """video_id -> its questions, in the order of the files' names.

    Args:
        where: a file, or a folder with some.

    Raises:
        ConfigError: there is none, or one cannot be read or is not of the form above.
    """
    path = Path(where)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"the folder of questions {where} holds no .json file")
    found: dict[str, list[VideoQuestion]] = {}
    for file in files:
        for question in _read(file):
            found.setdefault(question.video_id, []).append(question)
    return found


def questions_of(found: Mapping[str, list[VideoQuestion]], video_id: str) -> list[VideoQuestion]:
    """The questions about a video; a file may leave out its folder and the end of its name."""
    name = Path(video_id).name
    return found.get(video_id) or found.get(name) or found.get(Path(name).stem) or []


def chosen(answer: str, options: Sequence[str]) -> str | None:
    """The option that an answer names, whatever its case and marks; None where it names none.

    Of an option that begins with its letter ("B. Calm"), the letter or the rest is enough.
    """
    told = words(answer)
    for option in options:
        named = words(option)
        has_letter = len(named) > 1 and len(named[0]) == 1
        if told == named or (has_letter and told in (named[:1], named[1:])):
            return option
    return None


def one_of(options: Sequence[str]) -> Rule:
    """The answer is one of some options."""

    def check(answer: Answer) -> str | None:
        return None if chosen(answer.text, options) is not None else "not one of the options"

    return check


def _read(path: Path) -> list[VideoQuestion]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"the questions {path} cannot be read: {error}") from error
    samples = data.get("samples") if isinstance(data, dict) else None
    if not isinstance(samples, list):
        raise ConfigError(f"the questions {path} have no list 'samples'")
    questions = []
    for number, sample in enumerate(samples, start=1):
        place = f"the questions {path}, sample {number}"
        if not isinstance(sample, dict) or not sample.get("video_id"):
            raise ConfigError(f"{place}: no video_id")
        question = sample.get("question") or data.get("question")
        if not isinstance(question, str) or sample.get("answer") is None:
            raise ConfigError(f"{place}: no question, or no answer")
        options = sample.get("options") or ()
        if not isinstance(options, list | tuple):
            raise ConfigError(f"{place}: options are a list")
        questions.append(
            VideoQuestion(
                video_id=str(sample["video_id"]),
                kind=path.stem,
                question=question.strip(),
                answer=sample["answer"],
                options=tuple(map(str, options)),
            )
        )
    return questions
