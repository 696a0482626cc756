"""Questions about videos, in the files of UGC-VideoCap's benchmark.

One JSON file for each kind, named after it::

    {"question": "...", "valid_count": 2,
     "samples": [{"video_id": "7301", "path": "...", "answer": "calm", "options": ["Calm", ...]}]}

A sample may have a ``question`` of its own. With ``options`` it is a choice; objects are
``car (count: 2, color: red, position: in the middle); ...``, in question and answer alike; else it
is answered in words. Texts on the screen stand in a file of lines, without a question::

    {"video_id": "7301", "ocr": ["SALE", "today only"]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rayjob.recipes.rules import Rule
from rayjob.recipes.wording import words
from schemas.errors import ConfigError
from schemas.recipe import Answer

AnswerForm = Literal["choice", "objects", "texts", "words"]

OBJECTS = "(count:"
"""What a question has that asks for objects: it shows their form."""
TEXTS_QUESTION = "Which texts are shown on the screen? Answer with them alone, one on each line."
_OBJECT = re.compile(r"\s*([^;()]+?)\s*\(\s*(?:count:\s*)?([^,;()]*)[^()]*\)", re.IGNORECASE)


@dataclass(frozen=True)
class Thing:
    """An object of a list; ``count`` is None where it is told in another way than by a number."""

    name: str
    count: int | None


@dataclass(frozen=True, kw_only=True)
class VideoQuestion:
    """One question about one video.

    Attributes:
        kind: name of its file, without the ending.
        answer: the right one, as the file has it; of texts, one on each line.
        options: what a choice is among, as the file has them.
    """

    video_id: str
    kind: str
    question: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def form(self) -> AnswerForm:
        """What is asked for."""
        if self.options:
            return "choice"
        if self.question == TEXTS_QUESTION:
            return "texts"
        return "objects" if OBJECTS in self.question else "words"

    def text(self) -> str:
        """What the model is asked: the question, and what a choice is among."""
        if not self.options:
            return self.question
        listed = "\n".join(f"- {option}" for option in self.options)
        return f"{self.question}\n\nAnswer with one of these, and nothing else:\n{listed}"


def things(text: str) -> list[Thing]:
    """The objects of a list in the published form; none where it is not one."""
    read = ((name, count.strip(' "')) for name, count in _OBJECT.findall(text))
    return [Thing(name, int(count) if count.isdecimal() else None) for name, count in read]


def load_questions(where: str) -> dict[str, list[VideoQuestion]]:
    """video_id -> its questions, in the order of the files' names.

    Args:
        where: a file, or a folder with some.

    Raises:
        ConfigError: there is none, or one cannot be read or is not of the form above.
    """
    path = Path(where)
    endings = (".json", ".jsonl")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in endings)
    if not files:
        raise ConfigError(f"the folder of questions {where} holds no file {' or '.join(endings)}")
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


def lists_objects(answer: Answer) -> str | None:
    """The answer is a list of objects in the published form."""
    return None if things(answer.text) else "not a list of objects"


def _read(path: Path) -> list[VideoQuestion]:
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".jsonl":
            data: Any = {"samples": [json.loads(line) for line in text.splitlines() if line]}
        else:
            data = json.loads(text)
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
        question, answer = sample.get("question") or data.get("question"), sample.get("answer")
        if isinstance(sample.get("ocr"), list):
            question, answer = TEXTS_QUESTION, "\n".join(map(str, sample["ocr"]))
        if not isinstance(question, str) or not isinstance(answer, str):
            raise ConfigError(f"{place}: no question, or no answer that is a text")
        options = sample.get("options") or ()
        if not isinstance(options, list | tuple):
            raise ConfigError(f"{place}: options are a list")
        questions.append(
            VideoQuestion(
                video_id=str(sample["video_id"]),
                kind=path.stem,
                question=question.strip(),
                answer=answer.strip(),
                options=tuple(map(str, options)),
            )
        )
    return questions
