"""Recipe ``long``: one long text per video out of its frame and clip captions.

Follows the third step of LongCaption-Agent: every caption gets its time, captions of frames
stand below the windows that hold them, and a language model writes one text of it all.
Where the material does not fit the model's context, neighbouring windows are first written
up part by part, and the parts again until they fit; where the text does not fit one answer, it is
written in several, one after the other. ``details`` says so in the row.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveInt

from rayjob.recipes.asking import Outcome, joined
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.longform.notes import FrameSets, notes
from rayjob.recipes.longform.reducing import TimedText, pack, unstamped
from rayjob.recipes.material import Material
from rayjob.recipes.rules import (
    Rule,
    complete,
    ends_with_a_sentence,
    no_endless_repetition,
    non_empty,
    prose,
    without_words,
)
from schemas.config import GenerationConfig
from schemas.errors import ConfigError, UnusableMaterialError
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.tables import CaptionRow

_MARGIN_TOKENS = 16
"""Where two texts meet, tokens may merge or split."""

_WORDS_PER_TOKEN = 0.6
"""Cautious for English: asked for so many words, a model ends before it is cut off."""

_TAIL_TOKENS = 200
_TAIL_CHARACTERS = 800
"""What an answer that goes on is told at most of the text before it."""

_PART_RULES = (non_empty, prose, no_endless_repetition, complete)


class LongOptions(Settings):
    """What only this recipe can be told."""

    target_words: PositiveInt = 1000
    """Length that is asked for, in words, at least."""
    words_per_sec: NonNegativeFloat = 0.0
    """Length that is asked for of each second of the video, where that is more."""
    frame_sets: FrameSets = "whole"
    """Captions of frames below a window: whole, all in its time, also where windows overlap; once,
    each below the latest window alone."""
    max_input_tokens: int | None = Field(default=None, ge=64)
    """Material per request; by default what the context holds."""
    part_prompt_file: str | None = None
    """The prompt for one part of the material, where it does not fit a request."""
    next_prompt_file: str | None = None
    """The prompt for one part of the text, where it does not fit an answer."""
    sensitive_words_file: str | None = None
    """Words, one per line, that make a caption abnormal."""


class Long(BaseRecipe):
    """One long caption per video."""

    name = "long"
    model = "Qwen/Qwen2.5-32B-Instruct"
    prompt = "prompts/long.txt"
    plan = None
    generation = GenerationConfig(temperature=0.2, max_tokens=2048, seed=42)
    rules: Sequence[Rule] = (*_PART_RULES, ends_with_a_sentence)
    options = LongOptions()
    prompts: Mapping[str, str] = {
        "part_prompt_file": "prompts/long_part.txt",
        "next_prompt_file": "prompts/long_next.txt",
    }
    # Models that know one prompt go on without the text before.
    needed = frozenset({"input"})
    max_model_len = 32_768
    requests_per_video = 2
    source_recipe = "clips"

    def set_up(self) -> None:
        """Apply the options."""
        if self.options.sensitive_words_file is not None:
            self.rules = [*self.rules, without_words(_words(self.options.sensitive_words_file))]

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """One row for the whole video; see :class:`schemas.recipe.Recipe`.

        Raises:
            UnusableMaterialError: there is no valid caption of any window or frame, or the
                context is too small for the material to become smaller part by part.
            MissingMaterialError: the captions end before the video does.
        """
        material = Material.read(video)
        texts = await _counted(engine, notes(material, frame_sets=self.options.frame_sets))
        material_tokens = _size(texts)
        target = self._target(material, texts)
        answers = -(-target // self._most_words)
        budget = await self._budget(engine, answers=answers)
        outcomes: list[Outcome] = []
        levels: list[dict[str, Any]] = []
        while (size := _size(texts)) > budget * answers:
            groups = pack(await _fitting(engine, texts, budget), budget=budget)
            written = await asyncio.gather(*(self._part(engine, group, budget) for group in groups))
            parts = [outcome for outcome, _ in written]
            levels.append(
                {
                    "requests": len(groups),
                    "tokens": [_size(group) for group in groups],
                    "abnormal": sum(part.status != "ok" for part in parts),
                }
            )
            outcomes += parts
            texts = [text for _, text in written]
            if _size(texts) >= size:
                raise UnusableMaterialError(
                    f"{size} tokens of material do not become less in requests of {budget}: "
                    "raise engine.max_model_len or recipe.options.max_input_tokens"
                )
        groups = pack(await _fitting(engine, texts, budget), budget=budget, least=answers)
        outcome = await self._written(engine, groups, target)
        outcomes.append(outcome)
        return [
            self.row(
                video,
                outcome.with_tokens_of(outcomes),
                info=material.info,
                details={
                    "reduce_depth": len(levels),
                    "material_tokens": material_tokens,
                    "budget_tokens": budget,
                    "windows_left_out": sum(
                        row.level == "clip" and row.caption_status != "ok" for row in material.rows
                    ),
                    "target_words": target,
                    "levels": [
                        *levels,
                        {"requests": len(groups), "tokens": [_size(group) for group in groups]},
                    ],
                },
            )
        ]

    @property
    def _most_words(self) -> int:
        """Words that one answer surely holds."""
        limit = self.generation.max_tokens
        return sys.maxsize if limit is None else max(1, int(limit * _WORDS_PER_TOKEN))

    def _target(self, material: Material, texts: Sequence[TimedText]) -> int:
        """Words that are asked for."""
        known = material.info.duration_sec if material.info is not None else texts[-1].end_sec
        return max(self.options.target_words, round(self.options.words_per_sec * known))

    async def _written(
        self, engine: Engine, groups: Sequence[Sequence[TimedText]], target: int
    ) -> Outcome:
        """The text, in one answer or in one for each group, each told how the one before ended."""
        if len(groups) == 1:
            words = min(target, self._most_words)
            return await self.ask(
                engine, places=_places(groups[0], words=words), quotable=_told(groups[0])
            )
        words = min(-(-target // len(groups)), self._most_words)
        outcomes: list[Outcome] = []
        for group in groups:
            before = await _tail(engine, outcomes[-1].answer.text if outcomes else "")
            outcomes.append(
                await self.ask(
                    engine,
                    prompt=self.prompts["next_prompt_file"],
                    places=_places(group, words=words) | {"context": before},
                    quotable=[*_told(group), before],
                    rules=(*_PART_RULES, ends_with_a_sentence),
                    drop_abnormal=False,
                )
            )
        return joined(outcomes, rules=self.rules, drop_abnormal=self.drop_abnormal)

    async def _budget(self, engine: Engine, *, answers: int) -> int:
        """Tokens of material that one request may hold."""
        prompts = [self.prompt, self.prompts["part_prompt_file"]]
        if answers > 1:
            prompts.append(self.prompts["next_prompt_file"])
        sizes = await engine.count_tokens([self.system + prompt for prompt in prompts])
        answer = self.generation.max_tokens or 0
        tail = _TAIL_TOKENS if answers > 1 else 0
        room = engine.max_model_len - max(sizes) - tail - 4 * _MARGIN_TOKENS
        # The text of a part takes a third of its material.
        budget = min(room - answer, room * 3 // 4, self.options.max_input_tokens or room)
        if budget < 4 * _MARGIN_TOKENS:
            raise UnusableMaterialError(
                f"the context of {engine.max_model_len} tokens leaves {budget} for the material: "
                "raise engine.max_model_len or lower recipe.generation.max_tokens"
            )
        return budget

    async def _part(
        self, engine: Engine, group: list[TimedText], budget: int
    ) -> tuple[Outcome, TimedText]:
        """Write up one part. At most a third of what a request holds, so that every round has far
        less to pack than the one before.
        """
        most = max(_MARGIN_TOKENS, min(budget // 3, _size(group)))
        outcome = await self.ask(
            engine,
            prompt=self.prompts["part_prompt_file"],
            places=_places(group, words=int(most * _WORDS_PER_TOKEN)),
            quotable=_told(group),
            generation=self.generation.model_copy(update={"max_tokens": most}),
            rules=_PART_RULES,
            drop_abnormal=False,
        )
        text = TimedText(
            start_sec=group[0].start_sec,
            end_sec=max(each.end_sec for each in group),
            text=outcome.answer.text,
            tokens=0,
        )
        return outcome, (await _counted(engine, [text]))[0]


def _places(texts: Sequence[TimedText], *, words: int) -> dict[str, str]:
    return {"words": f"{words:,}", "input": "\n".join(text.stamped() for text in texts)}


async def _tail(engine: Engine, text: str) -> str:
    """The end of a text, so much of it that its tokens are few."""
    tail = text[-_TAIL_CHARACTERS:]
    while (await engine.count_tokens([tail]))[0] > _TAIL_TOKENS:
        tail = tail[len(tail) // 2 :]
    return tail


def _told(texts: Sequence[TimedText]) -> list[str]:
    """The material as a text may tell it: word for word, but not with its times."""
    return [unstamped("\n".join(text.text for text in texts))]


async def _counted(engine: Engine, texts: Sequence[TimedText]) -> list[TimedText]:
    counts = await engine.count_tokens([f"{text.stamped()}\n" for text in texts])
    return [replace(each, tokens=count) for each, count in zip(texts, counts, strict=True)]


async def _fitting(engine: Engine, texts: Sequence[TimedText], budget: int) -> Sequence[TimedText]:
    """The same texts, with those that are too large for one request cut in pieces.

    Raises:
        UnusableMaterialError: a single word is too large.
    """
    while any(text.tokens > budget for text in texts):
        halves: list[TimedText] = []
        for text in texts:
            halves += [text] if text.tokens <= budget else _halves(text, budget)
        texts = await _counted(engine, halves)
    return texts


def _halves(text: TimedText, budget: int) -> list[TimedText]:
    words = text.text.split(" ")
    if len(words) < 2:
        raise UnusableMaterialError(
            f"a caption holds a word longer than the {budget} tokens that a request may hold"
        )
    middle = len(words) // 2
    return [replace(text, text=" ".join(half)) for half in (words[:middle], words[middle:])]


def _size(texts: Sequence[TimedText]) -> int:
    return sum(text.tokens for text in texts)


def _words(path: str) -> list[str]:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"recipe.options.sensitive_words_file: {path} cannot be read: {error}"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
