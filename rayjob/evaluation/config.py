"""Configuration of an evaluation; every default in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rayjob.settings.loading import read_config
from schemas.config import RUN_ID, EngineConfig
from schemas.media import StorageOptions

SuiteName = Literal["basic", "ugc", "structured", "long"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JudgeConfig(_Model):
    """Who judges, and how it is asked. At most one of ``url`` and ``engine`` is set.

    With a ``model`` alone nothing is asked: only its stored scores are used.
    """

    url: str | None = Field(default=None, description="base URL of an OpenAI-compatible API")
    model: str | None = Field(default=None, description="the model's name at that endpoint")
    engine: str | None = Field(default=None, description="local model: checkpoint or hub name")
    key_file: str | None = Field(default=None, description="file that holds the API key")
    key_env: str | None = Field(default=None, description="variable that holds the API key")
    concurrency: int = Field(default=16, ge=1, description="questions in flight")
    requests_per_minute: float | None = Field(default=None, gt=0)
    retries: int = Field(default=4, ge=0, description="tries after the first, per question")
    timeout_sec: float = Field(default=120.0, gt=0, description="wall time of one try")
    temperature: float | None = Field(default=None, ge=0, description="None: as the suite says")
    max_tokens: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _one_judge(self) -> JudgeConfig:
        if self.url and self.engine:
            raise ValueError("a judge is either an endpoint (--judge-url) or --judge-engine")
        if self.url and not self.model:
            raise ValueError("--judge-url needs --judge-model, the model's name there")
        if self.key_file and self.key_env:
            raise ValueError("pass the key by --judge-key-file or by --judge-key-env, not both")
        return self


class Selection(_Model):
    """Which captions of an input are judged. None: all there are.

    Attributes:
        recipe: a recipe, or a fusion task.
        id_column, text_column: where the input is a table of somebody else's.
    """

    recipe: str | None = None
    run_id: str | None = None
    level: Literal["video", "clip", "frame"] = "video"
    limit: int | None = Field(default=None, ge=1, description="videos judged at most, by id")
    id_column: str | None = None
    text_column: str | None = None


class EvaluateConfig(_Model):
    """Everything ``rayjob evaluate`` needs."""

    suite: SuiteName = "basic"
    input: str | None = None
    compare: tuple[str, str] | None = Field(
        default=None, description="two runs of the input, or two inputs"
    )
    scores: str | None = Field(default=None, description="output that takes the scores")
    labels: str | None = None
    label_column: str | None = None
    questions: str | None = None
    buckets: tuple[float, ...] = Field(
        default=(300, 600, 900, 1200, 1800), description="edges of the duration buckets, in s"
    )
    selection: Selection = Selection()
    judge: JudgeConfig = JudgeConfig()
    engine: EngineConfig = EngineConfig()
    storage: StorageOptions = StorageOptions()
    max_unscored_rate: float = Field(
        default=0.1, ge=0, le=1, description="share of the judge's scores that may be missing"
    )
    resamples: int = Field(default=2000, ge=100, le=100_000)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> EvaluateConfig:
        if self.input is None and self.compare is None:
            raise ValueError("nothing to evaluate: pass --input, or --compare A B")
        if self.compare is not None and self.selection.run_id is not None:
            raise ValueError("--compare names the runs itself: leave --run-id out")
        run_id = self.selection.run_id
        if run_id is not None and not RUN_ID.fullmatch(run_id):
            raise ValueError(
                f"--run-id {run_id!r}: begins with a letter, then letters, digits, . _ -"
            )
        if list(self.buckets) != sorted(set(self.buckets)) or len(self.buckets) < 2:
            raise ValueError("--buckets are at least two rising numbers of seconds: 300,600,900")
        if self.questions is not None and self.suite != "ugc":
            raise ValueError("--questions belongs to --suite ugc")
        return self


def load_config(
    path: str | None, *, assignments: Sequence[str], flags: Mapping[str, Any]
) -> EvaluateConfig:
    """Build a configuration: YAML file, then ``--set``, then flags; the later wins.

    Args:
        path: YAML file, or None.
        assignments: ``dotted.key=value`` strings; the value is read as YAML.
        flags: dotted key -> value; None for a flag that was not given.

    Raises:
        ConfigError: with one line per mistake.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    return read_config(EvaluateConfig, path, assignments=assignments, flags=given)
