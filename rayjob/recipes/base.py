"""The class that recipes are made of: attributes say what a recipe does, a run may change them.

See ``docs/recipes.md`` for a recipe of one's own, and ``omni`` for one that ships.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rayjob.recipes.asking import Outcome, all_or_incomplete, ask
from rayjob.recipes.prompt_files import Prompt, PromptSource, filled
from rayjob.recipes.rules import (
    Rule,
    complete,
    min_words,
    no_echo,
    no_endless_repetition,
    non_empty,
    prose,
)
from rayjob.recipes.windows import Window, cut, frames_within, windows_over
from schemas.budget import OnTooLong
from schemas.config import GenerationConfig, OnSound, RecipeConfig
from schemas.errors import ConfigError
from schemas.media import Clip, SamplingPlan, VideoInfo
from schemas.recipe import Engine, Request, Video
from schemas.settings import Settings, explain
from schemas.structured import StructuredCaption
from schemas.tables import CaptionRow, Level

_SEEDS = 1000
"""From one sample to the next, so that attempts do not meet another sample's seed."""


class BaseRecipe:
    """A recipe that asks once per video; override :meth:`caption` for more.

    Attributes of the class are the recipe's defaults. An instance holds the same attributes
    with a run's configuration applied, and texts where the class names files.

    Args:
        config: what the run changes.
        model, model_revision: what the run loads, by default the recipe's own model.

    Attributes:
        name: the ``recipe`` partition of the tables; letters, digits, '_' and '-'.
        model: checkpoint folder or hub name.
        trust_remote_code: whether this model, and no other, may run code that it brings along.
        prompt: the text, or a file that ends in ".txt", relative to the file of its class; with a
            system message, where it has one (:mod:`rayjob.recipes.prompt_files`).
        system: the system message, "" for none.
        plan: what is extracted from each video; None for a recipe that works on earlier
            captions, which overrides :meth:`caption`.
        generation: how answers are sampled.
        rules: what an answer must keep, the first broken one is its reason; it is asked for
            again where it does not.
        options: what only this recipe can be told (``recipe.options``): a pydantic model.
        prompts: further prompts as ``prompt``, asked with the same system message, by the name
            of the option that holds a user's file for each.
        needed: places that a user's prompt has where the recipe's own has them.
        max_model_len: context in tokens.
        max_num_seqs: requests that an engine batches at once.
        requests_per_video: requests that one video has in the engine at once, about; an
            engine works on so many fewer videos.
        source_recipe: whose captions it works on, for a recipe without a plan.
        on_too_long: what becomes of a video that does not fit the model whole.
        sound: what becomes of the sound that the plan samples; "require" where it is the point.
        part_sec, part_frames: what a request shows at most, of a recipe that cuts videos into
            parts by itself.
        prompt_hash: of an instance, first 16 hex digits of the SHA-256 of system message and
            prompts.
        prompt_source: of an instance, "own" where any of them is a user's.

    Raises:
        ConfigError: a prompt file cannot be read or is not a prompt, or lacks a place that the
            recipe's prompt fills in; an option is wrong.
    """

    name: str = ""
    model: str = ""
    trust_remote_code: bool = False
    prompt: str = ""
    system: str = ""
    plan: SamplingPlan | None = SamplingPlan(num_frames=32)
    generation: GenerationConfig = GenerationConfig(temperature=0.2, max_tokens=1024, seed=42)
    rules: Sequence[Rule] = (non_empty, complete, no_endless_repetition)
    options: BaseModel = Settings()
    prompts: Mapping[str, str] = {}
    needed: frozenset[str] = frozenset({"input", "context", "question"})
    max_model_len: int = 16_384
    max_num_seqs: int = 64
    requests_per_video: int = 1
    source_recipe: str = ""
    on_too_long: OnTooLong = "fail"
    sound: OnSound = "auto"
    part_sec: float | None = None
    part_frames: int | None = None

    def __init__(
        self,
        config: RecipeConfig | None = None,
        *,
        model: str | None = None,
        model_revision: str | None = None,
    ) -> None:
        config = config or RecipeConfig()
        if config.plan is not None and self.plan is None:
            raise ConfigError(f"recipe.plan: the recipe {self.name} decodes nothing")
        self.options = _options(self.options, config.options)
        further = {
            option: self._prompt("prompts", default, getattr(self.options, option))
            for option, default in self.prompts.items()
        }
        if any(each.system for each in further.values()):
            raise ConfigError("only recipe.prompt_file may hold a system message")
        self.prompts = {option: each.user for option, each in further.items()}
        files = [config.prompt_file, *(getattr(self.options, option) for option in further)]
        prompt = self._prompt("prompt", self.prompt, config.prompt_file)
        self.prompt = prompt.user
        # A user's file is all that is said.
        self.system = prompt.system or (self.system if config.prompt_file is None else "")
        if config.system_prompt is not None:
            said = Prompt(user=self.prompt, system=config.system_prompt)
            lost = self.needed.intersection(prompt.places()) - set(said.places())
            if lost:
                raise ConfigError(
                    f"recipe.system_prompt takes the place of a text with {{{min(lost)}}}, where "
                    "the input belongs"
                )
            self.system = said.system
        is_own = any(files) or config.system_prompt is not None
        self.prompt_source: PromptSource = "own" if is_own else "built-in"
        texts = "\0".join([self.system, self.prompt, *self.prompts.values()])
        self.prompt_hash = hashlib.sha256(texts.encode()).hexdigest()[:16]
        self.sound = config.sound or self.sound
        self.plan = self._heard(config.plan or self.plan, required=config.sound == "require")
        self.generation = self.generation.model_copy(
            update=config.generation.model_dump(exclude_none=True)
        )
        if config.min_words:
            self.rules = [*self.rules, min_words(config.min_words)]
        if config.samples > 1 and type(self).caption is not BaseRecipe.caption:
            raise ConfigError(f"recipe.samples: the recipe {self.name} does not ask once per video")
        self.samples = config.samples
        self.requests_per_video *= config.samples
        self.max_attempts = config.max_attempts
        self.drop_abnormal = config.drop_abnormal
        self.keep_reasoning = config.keep_reasoning
        self.on_too_long = config.on_too_long or self.on_too_long
        self.model = model or self.model
        self.model_revision = model_revision
        self.set_up()

    def set_up(self) -> None:
        """What else follows from the attributes, once they are those of the run."""

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """One row for the whole video, or for each part of one that was cut to fit the model; of
        several samples one for each. See :class:`schemas.recipe.Recipe`.
        """
        if self.samples > 1:
            drawn = await asyncio.gather(
                *(self._sample(number, video, engine) for number in range(self.samples)),
                return_exceptions=True,
            )
            listed = [rows for rows in drawn if not isinstance(rows, BaseException)]
            return all_or_incomplete([row for rows in listed for row in rows], drawn)
        assert video.decoded is not None
        length, window_sec = video.decoded.info.duration_sec, video.decoded.info.window_sec
        if window_sec is None:
            return [await self.caption_clip(video, engine, video.decoded.whole())]
        # Whole parts: the length may come out a little different from what was expected.
        window_sec = length / max(1, round(length / window_sec))
        windows = windows_over(length, window_sec=window_sec, stride_sec=window_sec)
        ends = await asyncio.gather(
            *(self._caption_window(video, engine, window) for window in windows),
            return_exceptions=True,
        )
        return all_or_incomplete([end for end in ends if isinstance(end, CaptionRow)], ends)

    async def _sample(self, number: int, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """The rows of one of several samples, drawn with a seed of its own."""
        sampling = copy.copy(self)
        sampling.samples = 1
        if self.generation.seed is not None:
            seed = self.generation.seed + _SEEDS * number
            sampling.generation = self.generation.model_copy(update={"seed": seed})
        rows = await sampling.caption(video, engine)
        return [dataclasses.replace(row, sample=number) for row in rows]

    async def _caption_window(self, video: Video, engine: Engine, window: Window) -> CaptionRow:
        assert video.decoded is not None
        frames = frames_within(video.decoded, window)
        clip = await asyncio.to_thread(cut, video.decoded, window, frames=frames, sound=True)
        row = await self.caption_clip(video, engine, clip)
        return dataclasses.replace(
            row,
            level="clip",
            index=window.index,
            start_sec=window.start_sec,
            end_sec=window.end_sec,
            num_frames=clip.num_frames,
        )

    async def caption_clip(self, video: Video, engine: Engine, clip: Clip) -> CaptionRow:
        """The row of one clip, which is the whole video or a part of it."""
        return self.row(video, await self.ask(engine, clip=clip))

    async def ask(
        self,
        engine: Engine,
        *,
        prompt: str | None = None,
        places: Mapping[str, str] = {},
        quotable: Sequence[str] | None = None,
        clip: Clip | None = None,
        json_schema: dict[str, Any] | None = None,
        generation: GenerationConfig | None = None,
        rules: Sequence[Rule] | None = None,
        drop_abnormal: bool | None = None,
    ) -> Outcome:
        """Ask as the recipe's attributes say, but for what is given here.

        Args:
            prompt: another one than the recipe's.
            places: what stands in the places of prompt and system message, ``{input}`` by
                ``input``.
            quotable: texts in the places that the answer may tell word for word, by default all
                (:func:`rayjob.recipes.rules.no_echo`).
            clip, json_schema: see :class:`schemas.recipe.Request`.
            drop_abnormal: False for what is not the caption of a whole video.

        Raises:
            AbnormalCaptionError, CaptionError: see :func:`rayjob.recipes.asking.ask`.
        """
        request = Request(
            prompt=filled(self.prompt if prompt is None else prompt, places),
            system=filled(self.system, places),
            clip=clip,
            generation=generation or self.generation,
            json_schema=json_schema,
        )
        rules = [*(self.rules if rules is None else rules)]
        if prose in rules:
            quotable = [*places.values()] if quotable is None else quotable
            echo = no_echo(f"{request.system}\n{request.prompt}", quotable)
            rules.insert(rules.index(prose) + 1, echo)
        return await ask(
            engine,
            request,
            rules=rules,
            max_attempts=self.max_attempts,
            drop_abnormal=self.drop_abnormal if drop_abnormal is None else drop_abnormal,
        )

    def row(
        self,
        video: Video,
        outcome: Outcome,
        *,
        info: VideoInfo | None = None,
        num_frames: int | None = None,
        caption: str | None = None,
        level: Level = "video",
        index: int = 0,
        start_sec: float | None = 0.0,
        end_sec: float | None = None,
        structured: StructuredCaption | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> CaptionRow:
        """From an outcome to a row of ``captions``.

        Args:
            info: facts about the file, by default those of the decoded video.
            num_frames: frames that the model saw, by default all that were decoded.
            caption: what to store, by default the answer's text.
            end_sec: by default the end of the video.
            details: what else to tell about the row.
        """
        if video.decoded is not None:
            info = info or video.decoded.info
            num_frames = video.decoded.num_frames if num_frames is None else num_frames
        length = None if info is None else info.duration_sec
        return CaptionRow(
            video_id=video.video_id,
            uri=video.uri,
            level=level,
            index=index,
            start_sec=start_sec,
            end_sec=length if end_sec is None else end_sec,
            caption=outcome.answer.text if caption is None else caption,
            structured=None if structured is None else structured.model_dump_json(),
            structured_fields=None if structured is None else structured.model_dump(),
            caption_status=outcome.status,
            status_reason=outcome.reason,
            details=json.dumps(details, ensure_ascii=False) if details else None,
            attempts=outcome.attempts,
            prompt_tokens=outcome.prompt_tokens,
            output_tokens=outcome.output_tokens,
            reasoning_tokens=outcome.reasoning_tokens,
            reasoning=(outcome.answer.reasoning or None) if self.keep_reasoning else None,
            duration_sec=length,
            fps=None if info is None else info.fps,
            width=None if info is None else info.width,
            height=None if info is None else info.height,
            num_frames=num_frames,
            has_audio=None if info is None else info.has_audio,
            model=self.model,
            model_revision=self.model_revision,
            prompt_hash=self.prompt_hash,
            metadata=video.metadata,
            source_version=video.source_version,
            warnings=None if video.decoded is None else list(video.decoded.warnings),
        )

    def _heard(self, plan: SamplingPlan | None, *, required: bool) -> SamplingPlan | None:
        """The plan, without sound where that is off."""
        if plan is not None and self.sound == "off":
            return plan.model_copy(update={"audio_rate": None})
        if required and (plan is None or plan.audio_rate is None):
            raise ConfigError(
                "recipe.sound: the plan samples no sound that could be required; "
                "set recipe.plan.audio_rate, such as 16000"
            )
        return plan

    def _prompt(self, attribute: str, default: str, file: str | None) -> Prompt:
        """The user's file, or what the class has in an attribute."""
        if default.endswith(".txt"):
            owner = next(kind for kind in type(self).__mro__ if attribute in vars(kind))
            built_in = Prompt.read(Path(inspect.getfile(owner)).parent / default)
        elif default:
            built_in = Prompt.parse(default)
        elif file is None:
            raise ConfigError(
                f"the recipe {self.name} has no prompt: give its class the attribute 'prompt', or "
                "pass --prompt-file"
            )
        else:
            built_in = Prompt(user="")
        if file is None:
            return built_in
        own = Prompt.read(Path(file))
        for place in sorted(self.needed.intersection(built_in.places()) - set(own.places())):
            raise ConfigError(f"the prompt file {file} has no {{{place}}}, where the input belongs")
        return own


def _options(defaults: BaseModel, given: Mapping[str, Any]) -> BaseModel:
    """A recipe's options with those that a run gives."""
    kind = type(defaults)
    try:
        return kind.model_validate({**defaults.model_dump(exclude_unset=True), **given})
    except ValidationError as error:
        raise ConfigError(explain(error, kind, within="recipe.options.")) from error
