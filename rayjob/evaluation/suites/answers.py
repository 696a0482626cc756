"""Suite ``answers``: what the recipe ``ask`` was answered, after the benchmark of UGC-VideoCap.

Choices by equality whatever their case, lists of objects by how many of them are named and how many
of those are counted rightly, text on the screen by BLEU-1 and ROUGE-L, other answers by a judge.
The model itself was asked with the video; suite ``ugc`` has questions that a judge answers from a
caption, which is another thing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rayjob.evaluation.fields import normalised
from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.scores import Score
from rayjob.evaluation.suites import Suite
from rayjob.evaluation.suites.ugc import GRADE
from rayjob.recipes.ask import kind_of
from rayjob.recipes.questions import VideoQuestion, chosen, questions_of, things
from rayjob.recipes.wording import words
from schemas.errors import SourceError

CHOICE, COVERED, COUNTED = "choice accuracy", "objects covered", "objects counted"
BLEU, ROUGE, JUDGED = "OCR BLEU-1", "OCR ROUGE-L", "answers judged right"


class AnswersSuite(Suite):
    """One score, or two, for each answer.

    Args:
        items: rows of the recipe ``ask``; others are left out.
        questions: by video, as they were asked.
        judged: whether there is a judge.

    Raises:
        SourceError: no row answers any of these questions.
    """

    def __init__(
        self,
        items: Sequence[Item],
        questions: Mapping[str, list[VideoQuestion]],
        *,
        judged: bool,
    ) -> None:
        pairs = list(_pairs(items, questions))
        if not pairs:
            raise SourceError(
                "no row answers any of these questions: --input is an output of the recipe ask, "
                "and --questions what it was asked"
            )
        super().__init__(item for item, _ in pairs)
        self.note_uncaptioned("videos with questions", {item.video_id for item in items})
        unjudged = 0
        for item, question in pairs:
            part = f"{question.kind}#{item.index}"
            if question.form == "choice":
                right = chosen(question.answer, question.options) or question.answer
                told = chosen(item.text, question.options) or item.text
                value = float(words(told) == words(right))
                reason = None if value else f"the answer is {told[:80]!r}, right is {right!r}"
                self.computed.append(
                    item.score(CHOICE, value, part=part, reason=reason, method="equality")
                )
            elif question.form == "objects":
                self.computed += _object_scores(item, question.answer, part)
            elif question.form == "texts":
                for name, measure in ((BLEU, bleu_1), (ROUGE, rouge_l)):
                    value = measure(item.text, question.answer)
                    self.computed.append(item.score(name, value, part=part))
            elif judged:
                parts = {
                    "question": question.question,
                    "reference": question.answer,
                    "answer": item.text,
                }
                self.questions.append(GRADE.question(item, parts, {"correct": JUDGED}, part))
            else:
                unjudged += 1
        if unjudged:
            self.notes.append(f"{unjudged} answers in words need a judge, and there is none")
        kinds = sorted({question.kind for _, question in pairs})
        for name in (CHOICE, COVERED, COUNTED, BLEU, ROUGE, JUDGED):
            self.measures.append(Measure(name=name, dimensions=(name,), factor=100, unit="%"))
            self.measures += [
                Measure(
                    name=f"{name} {kind}", dimensions=(name,), factor=100, unit="%", takes=_of(kind)
                )
                for kind in kinds
                if name in (CHOICE, JUDGED)
            ]


class _of:
    """Takes the scores of one kind of question."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __call__(self, score: Score) -> bool:
        return score.item.rpartition("#")[0] == self._kind


def bleu_1(text: str, reference: str) -> float:
    """Share of the text's words that the reference has, less where the text is shorter."""
    told, right = words(text), words(reference)
    if not told or not right:
        return float(told == right)
    common = (Counter(told) & Counter(right)).total()
    return common / len(told) * min(1.0, math.exp(1 - len(right) / len(told)))


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    told, right = words(text), words(reference)
    if not told or not right:
        return float(told == right)
    row = [0] * (len(right) + 1)
    for word in told:
        before = row
        row = [0]
        for number, other in enumerate(right):
            row.append(
                before[number] + 1 if word == other else max(before[number + 1], row[number])
            )
    return 2 * row[-1] / (len(told) + len(right))


def _pairs(
    items: Sequence[Item], questions: Mapping[str, list[VideoQuestion]]
) -> Iterator[tuple[Item, VideoQuestion]]:
    for item in items:
        asked = questions_of(questions, item.video_id)
        if item.index < len(asked) and kind_of(item.details) == asked[item.index].kind:
            yield item, asked[item.index]


def _object_scores(item: Item, labels: str, part: str) -> list[Score]:
    """How many of the labelled objects are named, and how many of those have the right count."""
    told, wanted = things(item.text), things(labels)
    if not wanted:
        return [item.score(COVERED, None, part=part, reason="the label names no object")]
    found = []
    for thing in wanted:
        match = next((each for each in told if _same(each.name, thing.name)), None)
        if match is not None:
            told.remove(match)
            found.append((thing.count, match.count))
    scores = [item.score(COVERED, len(found) / len(wanted), part=part)]
    counted = [right == given for right, given in found if right is not None]
    if counted:
        scores.append(item.score(COUNTED, sum(counted) / len(counted), part=part))
    return scores


def _same(name: str, other: str) -> bool:
    """Whether all words of one name stand in the other."""
    one, two = ({*normalised(each).split()} for each in (name, other))
    return bool(one and two) and (one <= two or two <= one)
