"""Suite ``structured``: accuracy per field against labels, the table of SkyCaptioner-V1.

Closed fields are right if they hold the labelled option. Free text is right if it equals
the label but for case, punctuation and articles; if it does not, a judge decides whether
both say the same, or without a judge it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayjob.evaluation import fields
from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.rubrics import VERDICT, Rubric
from rayjob.evaluation.scores import Method
from rayjob.evaluation.suites import Suite, each_alone

RUBRIC = Rubric(name="field", scales={"same": VERDICT})

MEANINGS = {
    "camera_motion": "how the camera moves during the shot",
    "expression": "the expression of a face, its emotion and how it changes",
    "TYPES.type": "the broad kind of a subject, such as Human, Animal or Plant",
    "TYPES.sub_type": "the particular kind of a subject, such as Woman, Dog or Car",
    "appearance": "what a subject looks like",
    "action": "what a subject does",
    "position": "where in the picture, or to what, a subject stands",
    "environment": "the place and background of the scene",
    "lighting": "how the scene is lit",
}


class StructuredSuite(Suite):
    """Each labelled field of each labelled subject is one score of 0 or 1.

    A labelled subject that the answer lacks, and an answer that is not a structure, is wrong
    in every labelled field: that is the captioning model's failure, not the judge's.

    Args:
        judged: a judge decides on free text; else the normalised match does.
    """

    def __init__(
        self, items: Sequence[Item], labels: Mapping[str, dict[str, Any]], *, judged: bool
    ) -> None:
        super().__init__(items)
        self._judged = judged
        self.measures = [
            *each_alone(fields.FIELDS, factor=100, unit="%"),
            Measure(name="average", dimensions=fields.FIELDS, factor=100, unit="%"),
        ]
        self.note_uncaptioned("labelled videos", labels)
        surplus = broken = 0
        for video_id, label in labels.items():
            if video_id in self.items:
                item = self.items[video_id]
                answer = fields.parse(item.structure)
                broken += answer is None
                surplus += self._hold(item, label, answer or {})
        if broken:
            self.notes.append(f"not a structure, so wrong in every field: {broken} captions")
        if surplus:
            self.notes.append(f"subjects beyond those labelled, which count nowhere: {surplus}")

    def _hold(self, item: Item, label: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        """Score one caption; how many more subjects it names than are labelled."""
        for name in fields.GLOBAL_FIELDS:
            self._field(item, "", name, label, answer)
        wanted, found = fields.subjects_of(label), fields.subjects_of(answer)
        for number, (subject, match) in enumerate(
            zip(wanted, fields.match_subjects(wanted, found), strict=True)
        ):
            for name in fields.SUBJECT_FIELDS:
                self._field(item, f"subject {number}", name, subject, match or {})
        return max(0, len(found) - len(wanted)) if wanted else 0

    def _field(
        self, item: Item, part: str, name: str, label: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> None:
        wanted, found = fields.field_of(label, name), fields.field_of(answer, name)
        if wanted is None:
            return
        method: Method = "normalised match"
        if name in fields.CLOSED_FIELDS:
            kind = bool if name == "is_main_subject" else str
            right, method = isinstance(found, kind) and found == wanted, "equality"
        else:
            right = found is not None and fields.normalised(wanted) == fields.normalised(found)
            if found is not None and not right and self._judged:
                parts = {"field": name, "meaning": MEANINGS[name]}
                parts |= {"label": str(wanted), "answer": str(found)}
                self.questions.append(RUBRIC.question(item, parts, {"same": name}, part))
                return
        reason = None if right else f"labelled {wanted!r}, answered {found!r}"
        self.computed.append(
            item.score(name, float(right), part=part, reason=reason, method=method)
        )
