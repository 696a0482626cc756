"""What captions are held against: reference captions, structured labels, questions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from pydantic_core import from_json

from rayjob.evaluation.config import Selection
from rayjob.evaluation.fields import GLOBAL_FIELDS, SUBJECT_FIELDS, parse
from rayjob.evaluation.inputs import Item, items_of
from rayjob.evaluation.tablefiles import Row, by_video, read_rows
from schemas.errors import SourceError
from schemas.media import StorageOptions

_JSON_COLUMNS = ("structured", "structural_caption", "labels")
_Value = TypeVar("_Value")
_OPTION_MARK = re.compile(r"^\s*\(?([A-Za-z])[.):]\s+")


def load_references(where: str, *, column: str | None, storage: StorageOptions) -> dict[str, Item]:
    """video_id -> a person's caption of the video.

    Raises:
        SourceError: unreadable, a column is missing, or a video stands twice.
    """
    items = items_of(read_rows(where, storage), Selection(text_column=column), where, {})
    return _unique(where, ((item.video_id, item) for item in items))


def load_structured_labels(
    where: str, *, column: str | None, storage: StorageOptions
) -> dict[str, dict[str, Any]]:
    """video_id -> labelled structure, with the keys of the structured captions.

    Either one column holds the structure (JSON text or nested), or columns are named after
    the fields (``shot_type``, ``TYPES.type`` or ``TYPES_type``, ...); columns of a subject
    then describe one subject. An empty cell of a CSV, or null, is a field without a label.

    Raises:
        SourceError: unreadable, a column is missing, or a video stands twice.
    """
    rows = read_rows(where, storage)
    whole = column or next((name for name in _JSON_COLUMNS if name in rows[0]), None)
    pairs = []
    for place, video_id, row in by_video(rows, where):
        label = _from_columns(row) if whole is None else _object(row.get(whole))
        if label is None:
            raise SourceError(f"{place}, column {whole!r}: not a JSON object")
        if not label and whole is None:
            raise SourceError(
                f"{where} has neither a column with the structure ({', '.join(_JSON_COLUMNS)}) "
                "nor columns named after its fields"
            )
        pairs.append((video_id, label))
    return _unique(where, pairs)


def _object(value: Any) -> dict[str, Any] | None:
    found = parse(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else None


def _from_columns(row: Row) -> dict[str, Any]:
    # A cell of a CSV cannot tell an empty label from a missing one, so both are missing.
    given = {name: value for name, value in row.items() if value not in (None, "")}
    label: dict[str, Any] = {name: given[name] for name in GLOBAL_FIELDS if name in given}
    subjects = given.get("subjects")
    if subjects is not None:
        whole = _object(f'{{"subjects": {subjects}}}' if isinstance(subjects, str) else given)
        return label | {"subjects": (whole or {}).get("subjects")}
    columns = {name: given.get(name, given.get(name.replace(".", "_"))) for name in SUBJECT_FIELDS}
    subject = {name: value for name, value in columns.items() if value is not None}
    if "is_main_subject" in subject:
        subject["is_main_subject"] = str(subject["is_main_subject"]).lower() == "true"
    return label | ({"subjects": [subject]} if subject else {})


QuestionType = Literal["audio", "visual", "joint"]
QUESTION_TYPES: tuple[QuestionType, ...] = get_args(QuestionType)


@dataclass(frozen=True, kw_only=True)
class Quiz:
    """One question about a video.

    Attributes:
        id: unique within the video.
        answer: the right answer; with options, the letter of the right one.
        options: texts of a multiple choice, in the order of their letters; empty if open.
    """

    video_id: str
    id: str
    type: QuestionType
    question: str
    answer: str
    options: tuple[str, ...] = ()


def load_quiz(where: str, storage: StorageOptions) -> list[Quiz]:
    """The questions of a file with video_id, question, answer, type and perhaps options, id.

    ``options`` is a list, a JSON list, or one option a line; an answer to them is a letter
    or the text of an option.

    Raises:
        SourceError: unreadable, or a row is malformed.
    """
    rows = read_rows(where, storage)
    quizzes = []
    for number, (place, video_id, row) in enumerate(by_video(rows, where), start=1):
        missing = [name for name in ("question", "answer", "type") if row.get(name) in (None, "")]
        if missing:
            raise SourceError(f"{place}: no {', '.join(missing)}")
        kind = str(row["type"]).strip().lower()
        if kind not in QUESTION_TYPES:
            allowed = ", ".join(QUESTION_TYPES)
            raise SourceError(f"{place}: the type {kind!r} is not one of {allowed}")
        options = _options(row.get("options"), place)
        quiz = Quiz(
            video_id=video_id,
            id=str(row.get("question_id") or number),
            type=kind,
            question=str(row["question"]).strip(),
            answer=_letter(str(row["answer"]), options, place) if options else str(row["answer"]),
            options=options,
        )
        quizzes.append((f"{quiz.video_id}, question {quiz.id!r}", quiz))
    return list(_unique(where, quizzes).values())


def _options(value: Any, place: str) -> tuple[str, ...]:
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        text = value.strip()
        try:
            value = from_json(text) if text.startswith("[") else text.splitlines()
        except ValueError as error:
            raise SourceError(f"{place}: the options are not a JSON list ({error})") from error
    if not isinstance(value, Sequence) or len(value) < 2:
        raise SourceError(f"{place}: options are a list of at least two texts")
    return tuple(_OPTION_MARK.sub("", str(option)).strip() for option in value)


def _letter(answer: str, options: tuple[str, ...], place: str) -> str:
    letters = [chr(ord("A") + index) for index in range(len(options))]
    text = answer.strip()
    if text in options:
        return letters[options.index(text)]
    marked = _OPTION_MARK.match(f"{text} ") or re.fullmatch(r"\(?([A-Za-z])[.):]?", text)
    letter = marked.group(1).upper() if marked else ""
    if letter not in letters:
        raise SourceError(f"{place}: the answer {answer!r} is not one of the options")
    return letter


def _unique(where: str, pairs: Iterable[tuple[str, _Value]]) -> dict[str, _Value]:
    """The values by what each is of: "the video ID", perhaps with a question's.

    Raises:
        SourceError: one stands twice.
    """
    found: dict[str, _Value] = {}
    for name, value in pairs:
        if name in found:
            raise SourceError(f"{where}: the video {name} stands twice")
        found[name] = value
    return found
