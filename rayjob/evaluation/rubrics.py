"""What a judge is asked: a prompt, the form of its answer, and how the answer is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from rayjob.evaluation.fields import parse
from rayjob.evaluation.inputs import Item
from schemas.config import GenerationConfig
from schemas.recipe import Request

_PART = re.compile(r"\{(\w+)\}")
_FENCED = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)


class Reading(NamedTuple):
    """One value in a judge's answer: the value, or None and the reason why it is missing."""

    value: float | str | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What may stand in an answer: one of some values of one type, or any text.

    Attributes:
        type: as JSON schema calls it.
        options: the values that are allowed, () for any text.
    """

    type: Literal["integer", "boolean", "string"]
    options: tuple[int, ...] | tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a value."""
        # An enumeration: not every endpoint's guided decoding knows minimum and maximum.
        return {"type": self.type, **({"enum": [*self.options]} if self.options else {})}

    def read(self, value: Any) -> Reading:
        """The value, or what is wrong with it. Numbers and truth values are read as floats."""
        if not self.options:
            if self.type == "boolean" and isinstance(value, bool):
                return Reading(float(value))
            if self.type == "string" and isinstance(value, str):
                return Reading(value)
            wanted = "neither true nor false" if self.type == "boolean" else "not a text"
            return Reading(None, f"{_short(value)} is {wanted}")
        # Without guided decoding a letter may come in lower case or with its mark, and a
        # number as text.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        plain = str(value).strip(" .()").lower()
        for option in self.options:
            if plain == str(option).lower():
                return Reading(option if isinstance(option, str) else float(option))
        return Reading(None, f"{_short(value)} is not one of {', '.join(map(str, self.options))}")


LIKERT = Scale(type="integer", options=(1, 2, 3, 4, 5))
VERDICT = Scale(type="boolean")


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """One kind of question.

    Attributes:
        name: file name of the template in ``rayjob/evaluation/prompts``, without its ending.
        scales: key of the answer -> what stands there.
        temperature: at which the question was published.
    """

    name: str
    scales: Mapping[str, Scale]
    temperature: float = 0.0

    @cached_property
    def template(self) -> str:
        """The prompt, with parts such as ``{caption}`` to fill in."""
        folder = files("rayjob.evaluation").joinpath("prompts")
        return folder.joinpath(f"{self.name}.txt").read_text("utf-8").strip()

    @cached_property
    def prompt_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the template and the answer's form."""
        form = json.dumps(self.schema(), sort_keys=True)
        return hashlib.sha256(f"{self.template}\0{form}".encode()).hexdigest()[:16]

    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""
        return {
            "type": "object",
            "properties": {name: scale.schema() for name, scale in self.scales.items()},
            "required": list(self.scales),
            "additionalProperties": False,
        }

    def question(
        self, about: Item, parts: Mapping[str, str], dimensions: Mapping[str, str], item: str = ""
    ) -> Question:
        """The question with its parts; what looks like a part inside a part stays text."""
        prompt = _PART.sub(lambda found: parts.get(found[1], found[0]), self.template)
        return Question(about=about, rubric=self, prompt=prompt, dimensions=dimensions, item=item)

    def read(self, answer: str) -> dict[str, Reading]:
        """Every value of an answer."""
        data = _object(answer)
        if data is None:
            return dict.fromkeys(self.scales, Reading(None, "the answer is not JSON"))
        found = {}
        for name, scale in self.scales.items():
            if name in data:
                value, wrong = scale.read(data[name])
                found[name] = Reading(value, wrong and f"{name}: {wrong}")
            else:
                found[name] = Reading(None, f"the answer has no {name}")
        return found


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about one caption.

    Attributes:
        about: the caption.
        dimensions: key of the rubric's answer -> dimension of the score.
        item: which part of the caption or which question; see Score.
    """

    about: Item
    rubric: Rubric
    prompt: str
    dimensions: Mapping[str, str]
    item: str = ""

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of all that the judge is sent."""
        return hashlib.sha256(f"{self.rubric.prompt_hash}\0{self.prompt}".encode()).hexdigest()[:16]

    def request(self, *, temperature: float | None, max_tokens: int) -> Request:
        """The question as an engine takes it."""
        chosen = self.rubric.temperature if temperature is None else temperature
        return Request(
            prompt=self.prompt,
            generation=GenerationConfig(temperature=chosen, max_tokens=max_tokens),
            json_schema=self.rubric.schema(),
        )


def _object(answer: str) -> dict[str, Any] | None:
    """The JSON object in an answer, with or without a fence or words around it."""
    start, end = answer.find("{"), answer.rfind("}")
    fenced = _FENCED.search(answer)
    for text in (answer, fenced.group(1) if fenced else "", answer[start : end + 1]):
        data = parse(text)
        if data is not None:
            return data
    return None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
