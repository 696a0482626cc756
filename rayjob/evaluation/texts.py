"""What can be said of a caption's text without a label or a judge."""

from __future__ import annotations

from rayjob.evaluation import fields
from rayjob.evaluation.inputs import Item
from rayjob.recipes.rules import complete, no_endless_repetition, non_empty
from rayjob.recipes.wording import is_finished
from schemas.recipe import Answer

_GRAM = 4


def repetition(tokens: list[str]) -> float:
    """Share of the runs of four words that stood in the text before."""
    grams = [tuple(tokens[at : at + _GRAM]) for at in range(len(tokens) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def is_structured(item: Item) -> bool:
    """Whether the caption is, or should be, a structure."""
    return item.structured is not None or item.text.lstrip().startswith("{")


def structure_of(item: Item) -> str:
    """The text that should hold the structure."""
    return item.text if item.structured is None else item.structured


def abnormality(item: Item) -> str | None:
    """Why a caption is abnormal: empty, repeating without end, or ending abruptly; else None.

    Of the published rules for abnormal captions, that on sensitive content needs a model
    and is left out.
    """
    cut = item.status == "truncated"
    if is_structured(item):
        structure = fields.parse(structure_of(item))
        text, cut = fields.prose(structure_of(item)), cut or structure is None
    else:
        text = item.text
        cut = cut or not is_finished(text)
    answer = Answer(
        text=text, finish_reason="length" if cut else "stop", prompt_tokens=0, output_tokens=0
    )
    if non_empty(answer):
        return "empty"
    if no_endless_repetition(answer):
        return "repeats"
    return "ends abruptly" if complete(answer) else None
