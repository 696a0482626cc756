"""Recipe ``ask``: questions about each video, asked of the model that watches and hears it.

After the benchmark of UGC-VideoCaptioner: the model is shown the video itself, once for each
question, over one decode. ``rayjob evaluate --suite answers`` scores what it says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from rayjob.recipes.asking import all_or_incomplete
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.questions import (
    VideoQuestion,
    lists_objects,
    load_questions,
    one_of,
    questions_of,
)
from rayjob.recipes.rules import Rule, complete, no_endless_repetition, non_empty
from schemas.config import GenerationConfig
from schemas.errors import ConfigError, UnusableMaterialError
from schemas.media import Clip, SamplingPlan
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.tables import CaptionRow


class AskOptions(Settings):
    """What only this recipe can be told."""

    questions_file: str | None = None
    """A file of questions, or a folder with some; see rayjob/recipes/questions.py."""


class Ask(BaseRecipe):
    """One row per question; its ``index`` counts them, ``details`` tells kind and question."""

    name = "ask"
    model = "openinterx/UGC-VideoCaptioner"
    prompt = "prompts/ask.txt"
    plan = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
    generation = GenerationConfig(temperature=0.2, max_tokens=512, seed=42)
    rules = (non_empty, complete, no_endless_repetition)
    options = AskOptions()
    max_model_len = 20_000
    requests_per_video = 4

    def set_up(self) -> None:
        """Read the questions."""
        if self.options.questions_file is None:
            raise ConfigError(
                "recipe.options.questions_file: the recipe ask needs questions, a file or a folder "
                "with some"
            )
        self._questions = load_questions(self.options.questions_file)

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """A row for each question; see :class:`schemas.recipe.Recipe`.

        Raises:
            UnusableMaterialError: there is no question about the video.
            IncompleteError: a request failed; the other answers are kept.
        """
        assert video.decoded is not None
        questions = questions_of(self._questions, video.video_id)
        if not questions:
            raise UnusableMaterialError("there is no question about this video")
        clip = video.decoded.whole()
        ends = await asyncio.gather(
            *(
                self._answer(video, engine, clip, index, question)
                for index, question in enumerate(questions)
            ),
            return_exceptions=True,
        )
        return all_or_incomplete([end for end in ends if isinstance(end, CaptionRow)], ends)

    async def _answer(
        self, video: Video, engine: Engine, clip: Clip, index: int, question: VideoQuestion
    ) -> CaptionRow:
        rules: list[Rule] = [*self.rules]
        if question.form == "choice":
            rules.append(one_of(question.options))
        elif question.form == "objects":
            rules.append(lists_objects)
        outcome = await self.ask(
            engine,
            places={"question": question.text()},
            clip=clip,
            rules=rules,
            drop_abnormal=False,
        )
        details = {"kind": question.kind, "question": question.question}
        return self.row(video, outcome, index=index, details=details)


def kind_of(details: str | None) -> str:
    """The kind of question that a row answers, "" where it answers none."""
    found = json.loads(details) if details else {}
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else ""
