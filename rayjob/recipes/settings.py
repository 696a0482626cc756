"""What a recipe does by default, and what it does in this run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from schemas.config import GenerationConfig, RecipeConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan


@dataclass(frozen=True, kw_only=True)
class RecipeDefaults:
    """A recipe's published configuration.

    Attributes:
        model: hub name of the model it was published with.
        prompt: file name of the prompt, in ``rayjob/recipes/prompts``.
        system: the system message, "" for none.
        max_model_len: context in tokens.
        max_num_seqs: requests that an engine batches at once.
        media: how many items of each modality one request holds at most.
    """

    model: str
    prompt: str
    system: str
    plan: SamplingPlan
    generation: GenerationConfig
    max_model_len: int
    max_num_seqs: int
    media: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """A recipe's settings in one run: the defaults with the configuration applied.

    Attributes:
        prompt: the prompt template's text.
        prompt_hash: first 16 hex digits of the SHA-256 of system message and prompt.
        model, model_revision: what is written into every row.
    """

    prompt: str
    system: str
    prompt_hash: str
    plan: SamplingPlan
    generation: GenerationConfig
    max_attempts: int
    min_words: int
    model: str
    model_revision: str | None


def settings_for(
    defaults: RecipeDefaults, config: RecipeConfig, *, model: str, model_revision: str | None
) -> RecipeSettings:
    """Apply a configuration to a recipe's defaults.

    Raises:
        ConfigError: the prompt file cannot be read or is empty.
    """
    prompt = read_prompt(config.prompt_file, default=defaults.prompt)
    system = defaults.system if config.system_prompt is None else config.system_prompt
    chosen = defaults.generation.model_copy(update=config.generation.model_dump(exclude_none=True))
    return RecipeSettings(
        prompt=prompt,
        system=system,
        prompt_hash=hashlib.sha256(f"{system}\0{prompt}".encode()).hexdigest()[:16],
        plan=config.plan or defaults.plan,
        generation=chosen,
        max_attempts=config.max_attempts,
        min_words=config.min_words,
        model=model,
        model_revision=model_revision,
    )


def read_prompt(path: str | None, *, default: str) -> str:
    """The user's prompt file, or the built-in one; surrounding white space removed.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    if path is None:
        return files("rayjob.recipes").joinpath("prompts", default).read_text("utf-8").strip()
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the prompt file {path} cannot be read: {error}") from error
    if not text:
        raise ConfigError(f"the prompt file {path} is empty")
    return text
