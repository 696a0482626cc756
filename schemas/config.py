"""Configuration of a job: small frozen models, every default in one place.

A YAML file has this shape; flags of the commands win over it. ``docs/settings.md`` is made of
these models.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from schemas.budget import OnTooLong
from schemas.endpoint import EndpointConfig
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from schemas.settings import Flag, Settings, Unset
from schemas.sources import SourceConfig

RUN_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")
"""A run id begins with a letter, so that no reader infers a number from the path."""


def _checked(name: str) -> str:
    if not RUN_ID.fullmatch(name):
        raise ValueError("begins with a letter and holds letters, digits, '.', '_' and '-'")
    return name


RunId = Annotated[str, AfterValidator(_checked)]
"""A text of the form RUN_ID."""


class DecodeConfig(Settings):
    """The pool of decode actors."""

    actors: Annotated[PositiveInt | None, Unset("one per CPU that is left")] = None
    """Actors at most."""
    cpus_per_actor: PositiveFloat = 1.0
    """CPUs that an actor asks Ray for."""
    node_resource: Annotated[str | None, Unset("they run anywhere")] = Field(
        default=None, min_length=1
    )
    """A resource of Ray that only decode nodes offer, as much of it as they have CPUs: it keeps
    decoders off the CPUs beside GPUs."""
    limits: DecodeLimits = DecodeLimits()


_Recipes = Unset("the recipe's")

OnSound = Literal["auto", "require", "off"]
"""What becomes of the sound: heard where the model hears; needed; or left out."""


class GenerationConfig(Settings):
    """How the engine samples an answer."""

    temperature: Annotated[NonNegativeFloat | None, _Recipes] = None
    """0 always takes the likeliest token."""
    top_p: Annotated[float | None, _Recipes] = Field(default=None, gt=0, le=1)
    """Sample among the likeliest tokens that together have this probability."""
    top_k: Annotated[PositiveInt | None, _Recipes] = None
    """Sample among so many of the likeliest tokens."""
    max_tokens: Annotated[PositiveInt | None, _Recipes] = None
    """Tokens of one answer at most."""
    stop: Annotated[tuple[str, ...] | None, _Recipes] = None
    """Texts before which an answer ends, such as a blank line."""
    repetition_penalty: Annotated[PositiveFloat | None, _Recipes] = None
    """Above 1, tokens that are there already become less likely."""
    presence_penalty: Annotated[float | None, _Recipes] = Field(default=None, ge=-2, le=2)
    """Above 0, tokens that the answer holds already become less likely."""
    seed: Annotated[int | None, _Recipes] = None
    """Of the sampling: the same seed, the same answer to the same request."""


def _word(value: Any) -> Any:
    """``off`` as it is meant: YAML reads it as false."""
    return "off" if value is False else value


class RecipeConfig(Settings):
    """The recipe, and what to change in it. In YAML the recipe's name alone is enough:
    ``recipe: omni``.
    """

    short_form = "name"

    name: Annotated[str, Flag("--recipe")] = "omni"
    """Recipe by name, FILE.py:CLASS or MODULE:CLASS."""
    prompt_file: Annotated[str | None, Flag("--prompt-file", metavar="FILE"), _Recipes] = None
    """Text file with the whole prompt: the user's part, or parts below [system] and [user]."""
    system_prompt: Annotated[str | None, _Recipes] = None
    """System message; '' for none."""
    plan: Annotated[SamplingPlan | None, _Recipes] = None
    """How a video is sampled. It replaces the recipe's own plan as a whole."""
    generation: GenerationConfig = GenerationConfig()
    max_attempts: int = Field(default=3, ge=1, le=20)
    """Answers that are asked for until one passes the checks."""
    samples: int = Field(default=1, ge=1, le=64)
    """Answers for each video, each a row with its sample; of recipes that ask once per video."""
    min_words: NonNegativeInt = 0
    """Shortest caption that is valid, in words."""
    on_too_long: Annotated[OnTooLong | None, _Recipes] = None
    """What becomes of a video that does not fit the model: fail; sample: one caption of fewer
    frames, without sound that does not fit; window: captions of parts that fit."""
    sound: Annotated[OnSound | None, BeforeValidator(_word), _Recipes] = None
    """What becomes of the sound that the plan samples. auto: a model that hears gets it; require: a
    model that does not hear is refused; off: none is sampled."""
    keep_reasoning: bool = False
    """Keep what the model thought before a caption, in the column reasoning: of engines with
    engine.reasoning_parser, and of endpoints that tell it."""
    drop_abnormal: Annotated[bool, Flag("--drop-abnormal")] = False
    """Captions of whole videos that break a rule become failures."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What only this recipe has; see the recipe."""

    @field_validator("plan")
    @classmethod
    def _samples_evenly(cls, value: SamplingPlan | None) -> SamplingPlan | None:
        if value is not None and value.change is not None:
            raise ValueError("a recipe samples evenly: change is for rayjob split alone")
        return value


class EngineConfig(Settings):
    """One engine, and how many there are."""

    kind: Literal["vllm", "openai"] = "vllm"
    """vllm: engines that the job starts; openai: an endpoint elsewhere, where the settings of
    devices, memory and vLLM have no effect."""
    endpoint: EndpointConfig = EndpointConfig()
    model: Annotated[str | None, Flag("--model"), _Recipes] = None
    """Checkpoint folder, here or in a storage (s3://, gs://), or hub name."""
    model_dir: str = "~/.cache/rayjob/models"
    """Folder of every node for its copies of models that lie in a storage."""
    revision: Annotated[str | None, Unset("the newest")] = None
    """Branch, tag or commit of the model on the hub."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """auto: GPUs where the cluster has any, else the CPU."""
    engines: Annotated[
        PositiveInt | None, Flag("--engines"), Unset("as many as the GPUs hold, or one")
    ] = None
    """Engine replicas."""
    gpus_per_engine: Annotated[PositiveFloat, Flag("--gpus-per-engine")] = 1.0
    """Share of a GPU per engine, or whole GPUs. On the device 'cpu' it is asked of Ray only where
    it is set."""
    cpus_per_engine: Annotated[
        PositiveFloat | None, Unset("one, and one for each of prepare_processes")
    ] = None
    """CPUs that an engine asks Ray for."""
    prepare_processes: Annotated[
        NonNegativeInt | None, Unset("by the size of a clip and the CPUs beside a GPU")
    ] = None
    """Processes beside an engine that prepare its requests (chat template, the model's processor of
    images, video and sound). 0: the engine's own process does."""
    min_engines: Annotated[PositiveInt | None, Unset("all: engines take minutes to start")] = None
    """Replicas that are kept; the pool grows to engines while all are busy, and shrinks again."""
    autoscale: bool = False
    """GPU nodes come when engines ask for them, so that the number of engines is not compared
    with the GPUs there are now."""
    max_model_len: Annotated[int | None, Flag("--context-length"), _Recipes] = Field(
        default=None, ge=64
    )
    """Tokens of one sequence at most, prompt and answer."""
    max_num_seqs: Annotated[PositiveInt | None, Flag("--max-num-seqs"), _Recipes] = None
    """Sequences that an engine batches at once."""
    videos_in_flight: Annotated[PositiveInt | None, Unset("by the engine's own queue")] = None
    """Videos that a replica works on at once."""
    kv_cache_bytes: Annotated[int | None, Unset("what memory is left")] = Field(
        default=None, ge=1 << 20
    )
    """Size of the KV cache."""
    gpu_memory_gb: Annotated[PositiveFloat | None, Unset("as the accelerator type tells")] = None
    """Memory of one GPU, in 10^9 bytes."""
    dtype: str = "auto"
    """Type of the weights in memory, such as bfloat16; auto: as in the checkpoint."""
    enforce_eager: bool = False
    """Without CUDA graphs: the engine starts faster and runs slower."""
    load_format: str = "auto"
    """How vLLM loads the weights; dummy: random ones."""
    trust_remote_code: Annotated[
        bool | None, Unset("only that of a recipe's own model, where it needs it")
    ] = None
    """Run code that the checkpoint brings along."""
    chat_template: Annotated[str | None, Unset("the checkpoint's")] = None
    """File with a chat template (Jinja)."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """What the chat template is told beside the messages. enable_thinking is false where nothing
    is said of it."""
    reasoning_parser: Annotated[str | None, Unset("all that is written is the answer")] = None
    """One of vLLM's reasoning parsers, such as qwen3 or openai_gptoss: what a model thinks is kept
    out of captions, and guided decoding begins behind it."""
    mm_processor_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the model's processor of images, video and sound."""
    vllm_args: dict[str, Any] = Field(default_factory=dict)
    """Further fields of vllm.AsyncEngineArgs."""

    @field_validator("gpus_per_engine")
    @classmethod
    def _fraction(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("is a fraction up to 1 or a whole number of GPUs")
        return value

    @model_validator(mode="after")
    def _scaled(self) -> EngineConfig:
        if self.autoscale and (self.engines is None or self.device == "auto"):
            raise ValueError(
                "autoscale needs engine.engines and engine.device: neither can be taken from "
                "a cluster that is still empty"
            )
        if self.min_engines is not None and (self.engines or 0) < self.min_engines:
            raise ValueError("min_engines needs engines, and is not above it")
        return self

    @model_validator(mode="after")
    def _elsewhere(self) -> EngineConfig:
        if (self.kind == "openai") != (self.endpoint.url is not None):
            raise ValueError("kind: openai and endpoint.url go together")
        return self


class ShardConfig(Settings):
    """When a shard is closed: what a crash can cost at most."""

    rows: PositiveInt = 2000
    """Rows per shard."""
    seconds: PositiveFloat = 120.0
    """Age at which a shard is written, in seconds."""


class HealthConfig(Settings):
    """When the run takes its surroundings for broken."""

    failures_in_a_row: NonNegativeInt = 20
    """Videos that fail one after the other for reasons that may lie outside them (no access, no
    answer, too slow, refused, ...), with nothing read or captioned in between: the run stops, and
    leaves them to the next one. 0 never stops it."""
    engine_deaths_in_a_row: PositiveInt = 10
    """Engines that die with no video getting through in between: the run stops."""
    engine_death_share: float = Field(default=0.05, gt=0, le=1)
    """The run also stops when more engines have died than this share of the videos that reached
    one, and more than engine_deaths_in_a_row."""
    engine_silent_sec: PositiveFloat = 300.0
    """Time without a token of a busy engine after which it starts again, in seconds."""
    run_silent_sec: PositiveFloat = 1800.0
    """Time without any token or result after which the run ends, in seconds. At least twice
    engine_silent_sec and decode.limits.wall_seconds."""
    start_sec: PositiveFloat = 3600.0
    """Time that an engine may take to start, its model's download included, in seconds."""


INPUT = Flag("--input", "-i", metavar="WHERE", repeatable=True)
OUTPUT = Flag("--output", "-o", metavar="WHERE")
RUN_ID_FLAG = Flag("--run-id")
RETAKE_CHANGED = Flag("--retake-changed/--leave-changed")


class RunConfig(Settings):
    """What every run needs, whether it captions videos, fuses captions or splits videos."""

    input: Annotated[tuple[str, ...], INPUT] = Field(min_length=1)
    """What the run works on."""
    output: Annotated[str, OUTPUT] = Field(min_length=1)
    """Folder, or s3://, gs:// or az:// prefix."""
    name: Annotated[RunId | None, Flag("--name"), Unset("the recipe's")] = None
    """Name of the captioning, for several side by side: the partition that its tables have."""
    replace: Annotated[bool, Flag("--replace")] = False
    """Do videos again that were done with other settings (model, prompts, plan, ...)."""
    mixed: Annotated[bool, Flag("--mixed")] = False
    """Go on beside videos that were done with other settings."""
    limit: Annotated[PositiveInt | None, Flag("--limit"), Unset("all")] = None
    """Take at most so many videos that are not done yet."""
    run_id: Annotated[RunId | None, RUN_ID_FLAG, Unset("time of the start")] = None
    """Name of the run; begins with a letter."""
    retry_failed: Annotated[bool, Flag("--retry-failed")] = False
    """Take failed videos again."""
    retake_changed: Annotated[bool, RETAKE_CHANGED] = False
    """Take videos again whose content changed."""
    max_failure_rate: Annotated[float, Flag("--max-failure-rate")] = Field(default=1, ge=0, le=1)
    """Exit with 3 if a larger share of the videos fails."""
    storage: StorageOptions = StorageOptions()
    shards: ShardConfig = ShardConfig()
    health: HealthConfig = HealthConfig()
    executors: Annotated[
        PositiveInt | None, Unset("one for every 64 engines, one where the pool grows")
    ] = None
    """Processes that drive the run, each with a share of its inputs, engines and decoders; at most
    one for each engine."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.replace and self.mixed:
            raise ValueError("replace and mixed exclude each other")
        return self

    @field_validator("input", mode="before")
    @classmethod
    def _one_input(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class CaptioningConfig(RunConfig):
    """What a run needs that has engines write captions."""

    recipe: RecipeConfig = RecipeConfig()
    engine: EngineConfig = EngineConfig()
    price_per_gpu_hour: Annotated[
        NonNegativeFloat | None, Flag("--price-per-gpu-hour"), Unset("no costs")
    ] = None
    """Price of one GPU for an hour, in any currency."""
    csv: Annotated[bool, Flag("--csv")] = False
    """Write the input's rows with their captions too, as SkyCaptioner's scripts do."""
    export_jsonl: Annotated[bool, Flag("--export-jsonl")] = False
    """Write messages for instruction tuning too: video, prompt and caption; of several samples also
    groups with rewards, and pairs of preference."""
    reward_words: PositiveInt = 218
    """Length, in words, at which the reward by length of a sample is highest."""


class JobConfig(CaptioningConfig):
    """Everything a run of ``rayjob caption`` needs."""

    input: Annotated[tuple[str, ...], INPUT] = Field(min_length=1)
    """A file, folder, glob, s3:// prefix or manifest (.csv .tsv .json .jsonl .parquet .txt)."""
    decode: DecodeConfig = DecodeConfig()
    source: SourceConfig = SourceConfig()


class NightConfig(JobConfig):
    """Everything a run of ``rayjob nightly`` needs."""

    run_id: Annotated[RunId, RUN_ID_FLAG] = "nightly"
    """What the names of all nights begin with; the date follows."""
    retake_changed: Annotated[bool, RETAKE_CHANGED] = True
    """Take videos again whose content changed."""


class ModelJob(JobConfig):
    """A job of which the model alone is looked at, neither input nor output."""

    input: tuple[str, ...] = ()
    output: str = ""


class TaskConfig(RecipeConfig):
    """The recipe of a fusion, and what to change in it. In YAML the task's name alone is enough:
    ``recipe: t2v``.
    """

    name: Annotated[str, Flag("--task")] = "t2v"
    """t2v, i2v or long, FILE.py:CLASS or MODULE:CLASS."""


class FuseConfig(CaptioningConfig):
    """Everything a run of ``rayjob fuse`` needs."""

    input: Annotated[tuple[str, ...], INPUT] = Field(min_length=1)
    """Output of a captioning job, or a CSV of SkyCaptioner (path, structural_caption)."""
    output: Annotated[str, OUTPUT, Unset("the first input's, but for a CSV")] = Field(min_length=1)
    """Folder, or s3://, gs:// or az:// prefix."""
    recipe: TaskConfig = TaskConfig()
    source_recipe: Annotated[
        str | None, Flag("--source-recipe"), Unset("what the task is made for")
    ] = None
    """Name of the captioning to fuse."""

    @model_validator(mode="before")
    @classmethod
    def _beside_the_captions(cls, data: Any) -> Any:
        given = data.get("input") if isinstance(data, dict) else None
        first = given[0] if isinstance(given, list | tuple) and given else given
        if isinstance(first, str) and not first.lower().endswith(".csv"):
            return {"output": first, **data}
        return data
