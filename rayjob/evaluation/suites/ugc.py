"""Suite ``ugc``: visual, audio and details by a judge, and questions answered by the caption.

Follows the evaluation of UGC-VideoCaptioner: a judge holds a caption against a reference
and gives 1 to 5 for each of three dimensions; the average is the mean of the three, and
every figure is a percentage, mean / 5 * 100. The published script counts a failed call as
zero; here it is unscored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.labels import QUESTION_TYPES, Quiz
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.panel import UNKNOWN
from rayjob.evaluation.rubrics import LIKERT, VERDICT, Question, Rubric, Scale
from rayjob.evaluation.scores import Score
from rayjob.evaluation.suites import Suite, each_alone

DIMENSIONS = ("visual", "audio", "details")
RUBRIC = Rubric(name="ugc", scales=dict.fromkeys(DIMENSIONS, LIKERT), temperature=1.0)
OPEN = Rubric(name="quiz_open", scales={"answer": Scale(type="string")})
GRADE = Rubric(name="quiz_grade", scales={"correct": VERDICT})

ANSWERED = "questions answered"
_QUESTIONS = tuple(f"questions {kind}" for kind in QUESTION_TYPES)
_PERCENT = 100 / 5


class UgcSuite(Suite):
    """Scores against reference captions, and questions; either may be absent."""

    def __init__(
        self, items: Sequence[Item], references: Mapping[str, Item], quiz: Sequence[Quiz]
    ) -> None:
        super().__init__(items)
        self.measures = [
            *each_alone(DIMENSIONS, factor=_PERCENT, unit="%"),
            Measure(name="average", dimensions=DIMENSIONS, factor=_PERCENT, unit="%"),
            *each_alone((*_QUESTIONS, ANSWERED), factor=100, unit="%"),
        ]
        self._quiz = {(each.video_id, each.id): each for each in quiz}
        self.note_uncaptioned("reference captions", references)
        self.note_uncaptioned("videos with questions", [each.video_id for each in quiz])
        both = dict(zip(DIMENSIONS, DIMENSIONS, strict=True))
        self.questions = [
            RUBRIC.question(item, {"caption": item.text, "reference": references[video].text}, both)
            for video, item in self.items.items()
            if video in references
        ] + [
            _quiz_question(self.items[each.video_id], each)
            for each in quiz
            if each.video_id in self.items
        ]

    def follow_ups(self, scores: Sequence[Score]) -> tuple[list[Question], list[Score]]:
        """Right or wrong: a choice by equality, an open answer by the judge.

        A caption that does not tell the answer has not answered rightly. A question whose
        answer is unscored is unscored itself.
        """
        asked, settled = [], []
        for score in scores:
            if score.dimension != ANSWERED:
                continue
            quiz, item = self._quiz[score.video_id, score.item], self.items[score.video_id]
            answer = _quiz_rubric(quiz).read(score.raw_answer or "")["answer"].value
            if score.score and not quiz.options:
                parts = {"question": quiz.question, "reference": quiz.answer, "answer": str(answer)}
                graded = {"correct": f"questions {quiz.type}"}
                asked.append(GRADE.question(item, parts, graded, quiz.id))
            else:
                settled.append(_settled(item, score, quiz, answer))
        return asked, settled


def _letters(quiz: Quiz) -> tuple[str, ...]:
    return tuple(chr(ord("A") + index) for index in range(len(quiz.options)))


def _quiz_rubric(quiz: Quiz) -> Rubric:
    if not quiz.options:
        return OPEN
    letters = Scale(type="string", options=(*_letters(quiz), UNKNOWN))
    return Rubric(name="quiz_choice", scales={"answer": letters})


def _quiz_question(item: Item, quiz: Quiz) -> Question:
    lines = [f"{letter}. {text}" for letter, text in zip(_letters(quiz), quiz.options, strict=True)]
    parts = {"caption": item.text, "question": quiz.question, "options": "\n".join(lines)}
    return _quiz_rubric(quiz).question(item, parts, {"answer": ANSWERED}, quiz.id)


def _settled(item: Item, score: Score, quiz: Quiz, answer: float | str | None) -> Score:
    """The score of a quiz question that needs no second question."""
    value, reason = None, score.reason
    if score.score is not None:
        value = float(answer == quiz.answer)
        reason = None if value else f"the answer is {answer}, right is {quiz.answer}"
    return dataclasses.replace(
        item.score(f"questions {quiz.type}", value, part=quiz.id, reason=reason, method="equality"),
        judge_model=score.judge_model,
        created_at=score.created_at,
    )
