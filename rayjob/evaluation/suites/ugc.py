"""Suite ``ugc``: visual, audio and details by a judge, and questions answered by the caption.

Follows the evaluation of UGC-VideoCaptioner: a judge holds a caption against a reference
and gives 1 to 5 for each of three dimensions; the average is the mean of the three, and
every figure is a percentage, mean / 5 * 100. The published script counts a failed call as
zero; here it is unscored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.labels import QUESTION_TYPES, Quiz, Reference
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.panel import UNKNOWN
from rayjob.evaluation.rubrics import LIKERT, VERDICT, Question, Rubric, Scale
from rayjob.evaluation.scores import Score

DIMENSIONS = ("visual", "audio", "details")
RUBRIC = Rubric(name="ugc", scales=dict.fromkeys(DIMENSIONS, LIKERT), temperature=1.0)
OPEN = Rubric(name="quiz_open", scales={"answer": Scale(kind="text")})
GRADE = Rubric(name="quiz_grade", scales={"correct": VERDICT})

ANSWERED = "questions answered"
_QUESTIONS = tuple(f"questions {kind}" for kind in QUESTION_TYPES)
_PERCENT = 100 / 5


def choice_rubric(options: int) -> Rubric:
    """The rubric of a multiple choice among so many options."""
    letters = tuple(chr(ord("A") + index) for index in range(options))
    return Rubric(
        name="quiz_choice", scales={"answer": Scale(kind="text", options=(*letters, UNKNOWN))}
    )


class UgcSuite:
    """Scores against reference captions, and questions; either may be absent."""

    name = "ugc"

    def __init__(
        self, items: Sequence[Item], references: Mapping[str, Reference], quiz: Sequence[Quiz]
    ) -> None:
        self._items = {item.video_id: item for item in items}
        self._references = references
        self._quiz = {(each.video_id, each.id): each for each in quiz}
        self.notes = []
        for what, ids in (
            ("reference captions", set(references)),
            ("videos with questions", {each.video_id for each in quiz}),
        ):
            if ids - set(self._items):
                self.notes.append(f"{len(ids - set(self._items))} of {len(ids)} {what} "
                                  "have no caption here and count nowhere")  # fmt: skip

    def computed(self) -> list[Score]:
        """Nothing: all is asked."""
        return []

    def questions(self) -> list[Question]:
        """One question per caption with a reference, and one per question of the quiz."""
        asked = [
            Question(
                about=item,
                rubric=RUBRIC,
                prompt=RUBRIC.render(
                    {"caption": item.text, "reference": self._references[video_id].text}
                ),
                dimensions={name: name for name in DIMENSIONS},
            )
            for video_id, item in self._items.items()
            if video_id in self._references
        ]
        return asked + [
            self._quiz_question(self._items[each.video_id], each)
            for each in self._quiz.values()
            if each.video_id in self._items
        ]

    def _quiz_question(self, item: Item, quiz: Quiz) -> Question:
        rubric = choice_rubric(len(quiz.options)) if quiz.options else OPEN
        lines = [f"{chr(ord('A') + at)}. {text}" for at, text in enumerate(quiz.options)]
        parts = {"caption": item.text, "question": quiz.question, "options": "\n".join(lines)}
        return Question(
            about=item,
            rubric=rubric,
            prompt=rubric.render(parts),
            dimensions={"answer": ANSWERED},
            item=quiz.id,
        )

    def follow_ups(self, scores: Sequence[Score]) -> tuple[list[Question], list[Score]]:
        """Right or wrong: a choice by equality, an open answer by the judge.

        A caption that does not tell the answer has not answered rightly. A question whose
        answer is unscored is unscored itself.
        """
        asked, settled = [], []
        for score in scores:
            if score.dimension != ANSWERED:
                continue
            quiz, item = self._quiz[score.video_id, score.item], self._items[score.video_id]
            rubric = choice_rubric(len(quiz.options)) if quiz.options else OPEN
            answer = rubric.read(score.raw_answer or "")["answer"].value
            if score.score and not quiz.options:
                parts = {"question": quiz.question, "reference": quiz.answer, "answer": str(answer)}
                asked.append(
                    Question(
                        about=item,
                        rubric=GRADE,
                        prompt=GRADE.render(parts),
                        dimensions={"correct": _dimension(quiz)},
                        item=quiz.id,
                    )
                )
            else:
                settled.append(_settled(score, quiz, answer))
        return asked, settled

    def measures(self, scores: Sequence[Score]) -> list[Measure]:
        """The table's columns, then the accuracy of the answers by the questions' type."""
        there = {score.dimension for score in scores}
        measures = []
        if there.intersection(DIMENSIONS):
            columns = [(name, (name,)) for name in DIMENSIONS]
            measures = [
                Measure(name=name, dimensions=dimensions, factor=_PERCENT, unit="%")
                for name, dimensions in [*columns, ("average", DIMENSIONS)]
            ]
        kinds = [name for name in (*_QUESTIONS, ANSWERED) if name in there]
        return measures + [
            Measure(name=name, dimensions=(name,), factor=100, unit="%") for name in kinds
        ]


def _dimension(quiz: Quiz) -> str:
    return f"questions {quiz.type}"


def _settled(score: Score, quiz: Quiz, answer: float | str | None) -> Score:
    """The score of a quiz question that needs no second question."""
    value, reason = None, score.reason
    if score.score is not None:
        value = float(answer == quiz.answer)
        reason = None if value else f"the answer is {answer}, right is {quiz.answer}"
    return Score(
        video_id=score.video_id,
        recipe=score.recipe,
        model=score.model,
        caption_hash=score.caption_hash,
        duration_sec=score.duration_sec,
        item=score.item,
        dimension=_dimension(quiz),
        score=value,
        reason=reason,
        method="equality",
        judge_model=score.judge_model,
        created_at=score.created_at,
    )
