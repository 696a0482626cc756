"""Configuration of a job: small frozen models, every default in one place.

A YAML file has this shape; flags of the commands win over it.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.media import DecodeLimits, SamplingPlan, StorageOptions

VIDEO_EXTENSIONS = (
    "mp4", "mov", "m4v", "mkv", "webm", "avi", "flv", "ts", "mts", "m2ts",
    "mpg", "mpeg", "wmv", "3gp", "ogv", "gif", "mxf",
)  # fmt: skip

RUN_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")
"""A run id begins with a letter, so that no reader infers a number from the path."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(_Model):
    """Which files of a folder or prefix are inputs."""

    extensions: tuple[str, ...] = Field(
        default=VIDEO_EXTENSIONS,
        description="file name endings taken from folders and prefixes; '*' takes all",
    )

    @field_validator("extensions")
    @classmethod
    def _normalise(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(extension.lower().lstrip(".") for extension in value)


class DecodeConfig(_Model):
    """The pool of decode actors."""

    actors: int | None = Field(
        default=None, ge=1, description="actors at most; by default one per CPU that is left"
    )
    cpus_per_actor: float = Field(default=1.0, gt=0)
    node_resource: str | None = Field(
        default=None,
        min_length=1,
        description="a resource of Ray that only decode nodes offer, as much of it as they have "
        "CPUs: it keeps decoders off the CPUs beside GPUs. By default they run anywhere",
    )
    limits: DecodeLimits = DecodeLimits()


class GenerationConfig(_Model):
    """How the engine samples an answer. None: as the recipe says."""

    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    seed: int | None = None


class RecipeConfig(_Model):
    """The recipe and what to change in it. None: as the recipe says."""

    name: str = Field(default="omni", description="a recipe's name, or module:object")
    prompt_file: str | None = Field(default=None, description="text file with the prompt")
    system_prompt: str | None = Field(default=None, description="system message; '' for none")
    plan: SamplingPlan | None = None
    generation: GenerationConfig = GenerationConfig()
    max_attempts: int = Field(default=3, ge=1, le=20)
    min_words: int = Field(default=0, ge=0, description="shortest caption that is valid")
    drop_abnormal: bool = Field(
        default=False, description="captions of whole videos that break a rule become failures"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="what only this recipe has; see the recipe"
    )


class EngineConfig(_Model):
    """One vLLM engine, and how many there are. None: as the recipe says, or automatic."""

    model: str | None = Field(default=None, description="checkpoint folder or hub name")
    revision: str | None = None
    device: Literal["auto", "gpu", "cpu"] = Field(
        default="auto", description="auto: GPUs where the cluster has any, else the CPU"
    )
    engines: int | None = Field(
        default=None, ge=1, description="replicas; by default as many as the GPUs hold, or one"
    )
    gpus_per_engine: float = Field(
        default=1.0,
        gt=0,
        description="a fraction of one GPU, or a whole number of GPUs; on the device 'cpu' "
        "asked of Ray only where it is set",
    )
    cpus_per_engine: float = Field(default=1.0, gt=0)
    min_engines: int | None = Field(
        default=None,
        ge=1,
        description="replicas that are kept; the pool grows to engines while all are busy, and "
        "shrinks again. By default it is fixed: engines take minutes to start",
    )
    autoscale: bool = Field(
        default=False,
        description="GPU nodes come when engines ask for them, so that the number of engines "
        "is not compared with the GPUs there are now",
    )
    max_model_len: int | None = Field(default=None, ge=64)
    max_num_seqs: int | None = Field(default=None, ge=1, description="requests batched at once")
    videos_in_flight: int | None = Field(
        default=None, ge=1, description="videos a replica works on at once"
    )
    kv_cache_bytes: int | None = Field(default=None, ge=1 << 20)
    gpu_memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="memory of one GPU in 10^9 bytes; by default as the accelerator type tells",
    )
    dtype: str = "auto"
    enforce_eager: bool = False
    load_format: str = "auto"
    trust_remote_code: bool = False
    mm_processor_kwargs: dict[str, Any] = Field(default_factory=dict)
    vllm_args: dict[str, Any] = Field(
        default_factory=dict, description="further fields of vllm.AsyncEngineArgs"
    )

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


class ShardConfig(_Model):
    """When a shard is closed: what a crash can cost at most."""

    rows: int = Field(default=2000, ge=1, description="rows per shard")
    seconds: float = Field(default=120.0, gt=0, description="age at which a shard is written")


class RunConfig(_Model):
    """What every run needs, whether it captions videos or fuses captions."""

    input: tuple[str, ...] = Field(min_length=1)
    output: str = Field(min_length=1)
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,99}$",
        description="of the captioning, the partition its tables have; by default the recipe's",
    )
    replace: bool = Field(
        default=False,
        description="videos done with other settings (model, ...) are done again",
    )
    mixed: bool = Field(
        default=False, description="videos done with other settings are left as they are"
    )
    run_id: str | None = None
    limit: int | None = Field(default=None, ge=1, description="inputs taken at most")
    retry_failed: bool = False
    retake_changed: bool = Field(
        default=False, description="inputs whose content changed are captioned again"
    )
    max_failure_rate: float = Field(default=1.0, ge=0, le=1)
    price_per_gpu_hour: float | None = Field(default=None, ge=0)
    recipe: RecipeConfig = RecipeConfig()
    engine: EngineConfig = EngineConfig()
    storage: StorageOptions = StorageOptions()
    shards: ShardConfig = ShardConfig()

    @field_validator("run_id")
    @classmethod
    def _run_id(cls, value: str | None) -> str | None:
        if value is not None and not RUN_ID.fullmatch(value):
            raise ValueError("begins with a letter and holds letters, digits, '.', '_' and '-'")
        return value

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.replace and self.mixed:
            raise ValueError("replace and mixed exclude each other")
        return self

    @model_validator(mode="before")
    @classmethod
    def _one_input(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("input"), str):
            return {**data, "input": [data["input"]]}
        return data


class JobConfig(RunConfig):
    """Everything a run of ``rayjob caption`` needs."""

    decode: DecodeConfig = DecodeConfig()
    source: SourceConfig = SourceConfig()


class FuseConfig(RunConfig):
    """Everything a run of ``rayjob fuse`` needs. ``recipe.name`` is the task; without an output
    the fused captions go where the first input's captions are.
    """

    recipe: RecipeConfig = RecipeConfig(name="t2v")
    source_recipe: str | None = Field(
        default=None,
        description="name of the captioning to fuse; by default what the task is made for",
    )
    csv: bool = Field(default=False, description="write the CSV of SkyCaptioner's scripts too")
    export_jsonl: bool = Field(
        default=False, description="write video, prompt and caption for instruction tuning too"
    )

    @model_validator(mode="before")
    @classmethod
    def _beside_the_captions(cls, data: Any) -> Any:
        given = data.get("input") if isinstance(data, dict) else None
        first = given[0] if isinstance(given, list | tuple) and given else given
        if isinstance(first, str) and not first.lower().endswith(".csv"):
            return {"output": first, **data}
        return data
