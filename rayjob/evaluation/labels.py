"""What captions are held against: reference captions, structured labels, questions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rayjob.evaluation.fields import GLOBAL_FIELDS, SUBJECT_FIELDS
from rayjob.evaluation.inputs import ID_COLUMNS, TEXT_COLUMNS
from rayjob.evaluation.tablefiles import Row, pick_column, read_rows, seconds
from schemas.errors import SourceError
from schemas.media import StorageOptions

_JSON_COLUMNS = ("structured", "structural_caption", "labels")
_Value = TypeVar("_Value")
_OPTION_MARK = re.compile(r"^\s*\(?([A-Za-z])[.):]\s+")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A person's caption of a video."""

    text: str
    duration_sec: float | None


def load_references(
    where: str, *, column: str | None, storage: StorageOptions
) -> dict[str, Reference]:
    """video_id -> reference caption.

    Raises:
        SourceError: unreadable, a column is missing, or a video stands twice.
    """
    rows = read_rows(where, storage)
    columns = list(rows[0]) if rows else []
    names = pick_column(columns, ID_COLUMNS, chosen=None, what="the video's id", where=where)
    texts = pick_column(
        columns, TEXT_COLUMNS, chosen=column, what="the reference caption", where=where
    )
    pairs = (
        (str(row[names]), Reference(text=str(row[texts] or ""), duration_sec=seconds(row)))
        for row in rows
    )
    return _unique(pairs, where)


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
    columns = list(rows[0]) if rows else []
    names = pick_column(columns, ID_COLUMNS, chosen=None, what="the video's id", where=where)
    whole = column or next((name for name in _JSON_COLUMNS if name in columns), None)
    pairs = []
    for number, row in enumerate(rows, start=1):
        if whole is not None:
            label = _parsed(row.get(whole), f"{where}, row {number}, column {whole!r}")
        else:
            label = _from_columns(row)
            if not label:
                raise SourceError(
                    f"{where} has neither a column with the structure "
                    f"({', '.join(_JSON_COLUMNS)}) nor columns named after its fields"
                )
        pairs.append((str(row[names]), label))
    return _unique(pairs, where)


def _parsed(value: Any, where: str) -> dict[str, Any]:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise SourceError(f"{where}: malformed JSON ({error})") from error
    if not isinstance(found, dict):
        raise SourceError(f"{where}: not a JSON object")
    return found


def _from_columns(row: Row) -> dict[str, Any]:
    # A cell of a CSV cannot tell an empty label from none; null is none.
    given = {name: value for name, value in row.items() if value not in (None, "")}
    label: dict[str, Any] = {name: given[name] for name in GLOBAL_FIELDS if name in given}
    subjects = given.get("subjects")
    if subjects is not None:
        label["subjects"] = json.loads(subjects) if isinstance(subjects, str) else subjects
        return label
    subject: dict[str, Any] = {}
    for name in SUBJECT_FIELDS:
        value = given.get(name, given.get(name.replace(".", "_")))
        if value is None:
            continue
        if name.startswith("TYPES."):
            subject.setdefault("TYPES", {})[name.removeprefix("TYPES.")] = value
        elif name == "is_main_subject":
            subject[name] = value if isinstance(value, bool) else str(value).lower() == "true"
        else:
            subject[name] = value
    return label | ({"subjects": [subject]} if subject else {})


QuestionType = Literal["audio", "visual", "joint"]
QUESTION_TYPES: tuple[QuestionType, ...] = ("audio", "visual", "joint")


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
    if not rows:
        raise SourceError(f"{where} holds no questions")
    names = pick_column(rows[0], ID_COLUMNS, chosen=None, what="the video's id", where=where)
    quizzes: dict[tuple[str, str], Quiz] = {}
    for number, row in enumerate(rows, start=1):
        at = f"{where}, row {number}"
        missing = [name for name in ("question", "answer", "type") if row.get(name) in (None, "")]
        if missing:
            raise SourceError(f"{at}: no {', '.join(missing)}")
        kind = str(row["type"]).strip().lower()
        if kind not in QUESTION_TYPES:
            raise SourceError(f"{at}: the type {kind!r} is none of {', '.join(QUESTION_TYPES)}")
        options = _options(row.get("options"), at)
        quiz = Quiz(
            video_id=str(row[names]),
            id=str(row.get("question_id") or number),
            type=kind,
            question=str(row["question"]).strip(),
            answer=_letter(str(row["answer"]), options, at) if options else str(row["answer"]),
            options=options,
        )
        if (quiz.video_id, quiz.id) in quizzes:
            raise SourceError(f"{at}: the question {quiz.id!r} of {quiz.video_id} stands twice")
        quizzes[quiz.video_id, quiz.id] = quiz
    return list(quizzes.values())


def _options(value: Any, where: str) -> tuple[str, ...]:
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else text.splitlines()
        except ValueError as error:
            raise SourceError(f"{where}: options are no JSON list ({error})") from error
    if isinstance(value, Mapping) or len(value) < 2:
        raise SourceError(f"{where}: options are a list of at least two texts")
    return tuple(_OPTION_MARK.sub("", str(option)).strip() for option in value)


def _letter(answer: str, options: tuple[str, ...], where: str) -> str:
    letters = [chr(ord("A") + index) for index in range(len(options))]
    text = answer.strip()
    if text in options:
        return letters[options.index(text)]
    marked = _OPTION_MARK.match(f"{text} ") or re.fullmatch(r"\(?([A-Za-z])[.):]?", text)
    letter = marked.group(1).upper() if marked else ""
    if letter not in letters:
        raise SourceError(f"{where}: the answer {answer!r} is none of the options")
    return letter


def _unique(pairs: Iterable[tuple[str, _Value]], where: str) -> dict[str, _Value]:
    found: dict[str, _Value] = {}
    for video_id, value in pairs:
        if video_id in found:
            raise SourceError(f"{where}: the video {video_id} stands twice")
        found[video_id] = value
    return found
