"""What a recipe does by default, and what it does in this run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.config import GenerationConfig, RecipeConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan
from schemas.settings import explain

_PLACES = ("{input}", "{context}")


class NoOptions(BaseModel):
    """Of a recipe that has no options of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class RecipeDefaults:
    """A recipe's published configuration.

    Attributes:
        model: hub name of the model it was published with.
        prompt: file name of the prompt, in ``rayjob/recipes/prompts``.
        system: the system message, "" for none.
        max_model_len: context in tokens.
        max_num_seqs: requests that an engine batches at once.
        plan: None for a recipe that works on earlier captions.
        media: how many items of each modality one request holds at most.
        requests_per_video: requests that one video has in the engine at once, about; an
            engine works on so many fewer videos.
        prompts: further prompts, by the name of the option that holds a user's file for
            each: file names as ``prompt``.
        options: model of what only this recipe can be told (``recipe.options``).
        source_recipe: whose captions it works on, for a recipe without a plan.
    """

    model: str
    prompt: str
    system: str
    plan: SamplingPlan | None
    generation: GenerationConfig
    max_model_len: int
    max_num_seqs: int
    media: dict[str, int] = field(default_factory=dict)
    requests_per_video: int = 1
    prompts: dict[str, str] = field(default_factory=dict)
    options: type[BaseModel] = NoOptions
    source_recipe: str = ""


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """A recipe's settings in one run: the defaults with the configuration applied.

    Attributes:
        prompt: the prompt template's text.
        prompts: the further prompts' texts, by name.
        prompt_hash: first 16 hex digits of the SHA-256 of system message and prompts.
        options: an instance of the recipe's options model.
        model, model_revision: what is written into every row.
    """

    prompt: str
    system: str
    prompt_hash: str
    plan: SamplingPlan | None
    generation: GenerationConfig
    max_attempts: int
    min_words: int
    drop_abnormal: bool
    model: str
    model_revision: str | None
    prompts: dict[str, str] = field(default_factory=dict)
    options: Any = None


def settings_for(
    defaults: RecipeDefaults, config: RecipeConfig, *, model: str, model_revision: str | None
) -> RecipeSettings:
    """Apply a configuration to a recipe's defaults.

    Raises:
        ConfigError: a prompt file cannot be read or is empty, or lacks a place that the
            built-in prompt fills in; an option is wrong.
    """
    options = _options(defaults.options, config.options)
    prompt = read_prompt(config.prompt_file, default=defaults.prompt)
    prompts = {
        name: read_prompt(getattr(options, name), default=default)
        for name, default in defaults.prompts.items()
    }
    if config.plan is not None and defaults.plan is None:
        raise ConfigError("recipe.plan: this recipe decodes nothing")
    system = defaults.system if config.system_prompt is None else config.system_prompt
    chosen = defaults.generation.model_copy(update=config.generation.model_dump(exclude_none=True))
    return RecipeSettings(
        prompt=prompt,
        system=system,
        prompt_hash=_hash(system, prompt, *prompts.values()),
        plan=config.plan or defaults.plan,
        generation=chosen,
        max_attempts=config.max_attempts,
        min_words=config.min_words,
        drop_abnormal=config.drop_abnormal,
        model=model,
        model_revision=model_revision,
        prompts=prompts,
        options=options,
    )


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _options(kind: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, within="recipe.options.")) from error


def read_prompt(path: str | None, *, default: str) -> str:
    """The user's prompt file, or the built-in one; surrounding white space removed.

    Raises:
        ConfigError: the file cannot be read, is empty, or lacks a place such as ``{input}``
            that the built-in prompt has.
    """
    built_in = files("rayjob.recipes").joinpath("prompts", default).read_text("utf-8").strip()
    if path is None:
        return built_in
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the prompt file {path} cannot be read: {error}") from error
    if not text:
        raise ConfigError(f"the prompt file {path} is empty")
    for place in _PLACES:
        if place in built_in and place not in text:
            raise ConfigError(f"the prompt file {path} has no {place}, where the input belongs")
    return text
