"""Configuration of an evaluation; every default in one place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from actors.engine.chat import ChatService, read_key
from schemas.config import EngineConfig, RunId
from schemas.media import StorageOptions
from schemas.settings import LISTED, NO_FLAGS, Flag, Settings, Unset

SuiteName = Literal["basic", "ugc", "answers", "structured", "long"]


class JudgeConfig(Settings):
    """Who judges, and how it is asked. At most one of ``url`` and ``engine`` is set.

    With a ``model`` alone nothing is asked: only its stored scores are used.
    """

    url: Annotated[str | None, Flag("--judge-url", metavar="URL")] = None
    """OpenAI-compatible API, such as http://host:8000/v1."""
    model: Annotated[str | None, Flag("--judge-model")] = None
    """The judge's model there. Without --judge-url: its stored scores only."""
    engine: Annotated[str | None, Flag("--judge-engine", metavar="MODEL")] = None
    """Judge with a local model on this cluster: checkpoint folder or hub name."""
    key_file: Annotated[str | None, Flag("--judge-key-file", metavar="FILE")] = None
    """File that holds the API key."""
    key_env: Annotated[str | None, Flag("--judge-key-env", metavar="NAME")] = None
    """Variable that holds the API key."""
    concurrency: Annotated[PositiveInt, Flag("--judge-concurrency")] = 16
    """Questions in flight."""
    requests_per_minute: Annotated[PositiveFloat | None, Flag("--judge-rpm"), Unset("no limit")] = (
        None
    )
    """Requests per minute at most."""
    retries: Annotated[NonNegativeInt, Flag("--judge-retries")] = 4
    """Tries after the first, per question."""
    timeout_sec: Annotated[PositiveFloat, Flag("--judge-timeout", metavar="SECONDS")] = 120.0
    """Wall time of one try, in seconds."""
    engine_silent_sec: PositiveFloat = 300.0
    """Time without a token of a busy engine (judge.engine) after which it starts again, in
    seconds."""
    temperature: Annotated[
        NonNegativeFloat | None, Flag("--judge-temperature"), Unset("1 for ugc, else 0")
    ] = None
    """Temperature of the judge's sampling, instead of the suite's."""
    max_tokens: PositiveInt = 512
    """Tokens of one of the judge's answers at most."""

    @model_validator(mode="after")
    def _one_judge(self) -> JudgeConfig:
        if self.url and self.engine:
            raise ValueError("a judge is either an endpoint (--judge-url) or --judge-engine")
        if self.url and not self.model:
            raise ValueError("--judge-url needs --judge-model, the model's name there")
        if self.key_file and self.key_env:
            raise ValueError("pass the key by --judge-key-file or by --judge-key-env, not both")
        return self

    def service(self) -> ChatService:
        """The endpoint that judges.

        Raises:
            ConfigError: the file or the variable of the key does not hold one.
        """
        assert self.url is not None and self.model is not None
        naming = "--judge-{}"
        return ChatService(
            url=self.url,
            model=self.model,
            key=read_key(self.key_file, self.key_env, naming=naming),
            connections=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            retries=self.retries,
            timeout_sec=self.timeout_sec,
            naming=naming,
        )


class Selection(Settings):
    """Which captions of an input are judged."""

    recipe: Annotated[str | None, Flag("--recipe"), Unset("all")] = None
    """Only this recipe or fusion task."""
    run_id: Annotated[RunId | None, Flag("--run-id"), Unset("all")] = None
    """Only this run."""
    level: Annotated[Literal["video", "clip", "frame"], Flag("--level")] = "video"
    """What one caption is about."""
    sample: Annotated[NonNegativeInt | None, Flag("--sample"), Unset("all")] = None
    """Only this one of several answers for each video."""
    limit: Annotated[PositiveInt | None, Flag("--limit"), Unset("all")] = None
    """Take the first so many videos by id."""
    id_column: Annotated[str | None, Flag("--id-column"), Unset("found")] = None
    """The input's id column, where the input is a table of another program."""
    text_column: Annotated[str | None, Flag("--text-column"), Unset("found")] = None
    """The input's text column, where the input is a table of another program."""


class EvaluateConfig(Settings):
    """Everything ``rayjob evaluate`` needs."""

    input: Annotated[str | None, Flag("--input", "-i", metavar="WHERE")] = None
    """An output of rayjob caption or fuse, a folder of Parquet files, or a .csv, .jsonl or
    .parquet file with an id and a text column; for suite ugc also a .json of published scores;
    local or s3://."""
    suite: Annotated[SuiteName, Flag("--suite")] = "basic"
    """What is measured."""
    compare: Annotated[tuple[str, str] | None, Flag("--compare", metavar="A B")] = None
    """Two run ids or recipes of --input, or two inputs."""
    labels: Annotated[str | None, Flag("--labels", metavar="FILE")] = None
    """Reference captions (ugc, long) or labelled structures (structured): .csv, .jsonl or
    .parquet with video_id."""
    label_column: Annotated[str | None, Flag("--label-column"), Unset("found")] = None
    """The labels' column."""
    questions: Annotated[str | None, Flag("--questions", metavar="FILE")] = None
    """Questions for suite ugc: video_id, question, answer, type (audio, visual, joint), perhaps
    options and question_id. For suite answers: what the recipe ask was asked."""
    scores: Annotated[str | None, Flag("--scores", metavar="WHERE"), Unset("the input")] = None
    """Output whose scores/ takes them."""
    selection: Selection = Selection()
    judge: JudgeConfig = JudgeConfig()
    engine: Annotated[EngineConfig, NO_FLAGS] = EngineConfig()
    buckets: Annotated[tuple[float, ...], LISTED, Flag("--buckets", metavar="LIST")] = (
        300, 600, 900, 1200, 1800,
    )  # fmt: skip
    """Edges of the duration buckets, in seconds; a bucket holds its lower edge, and the last one
    both."""
    relevance_from_0: Annotated[bool, Flag("--relevance-from-0")] = False
    """Suite long asks for relevance from 0 to 5, as Video-ChatGPT does, and not from 1."""
    max_unscored_rate: Annotated[float, Flag("--max-unscored-rate")] = Field(
        default=0.1, ge=0, le=1
    )
    """Exit with 3 if a larger share of the judge's scores is missing."""
    resamples: Annotated[int, Flag("--resamples")] = Field(default=2000, ge=100, le=100_000)
    """Of the bootstrap."""
    seed: Annotated[NonNegativeInt, Flag("--seed")] = 0
    """Of the bootstrap."""
    storage: StorageOptions = StorageOptions()

    @model_validator(mode="after")
    def _complete(self) -> EvaluateConfig:
        if self.input is None and self.compare is None:
            raise ValueError("nothing to evaluate: pass --input, or --compare A B")
        if self.compare is not None and self.selection.run_id is not None:
            raise ValueError("--compare names the runs itself: leave --run-id out")
        if list(self.buckets) != sorted(set(self.buckets)) or len(self.buckets) < 2:
            raise ValueError("--buckets takes at least two rising numbers of seconds: 300,600,900")
        if self.questions is not None and self.suite not in ("ugc", "answers"):
            raise ValueError("--questions belongs to --suite ugc and --suite answers")
        if self.suite == "answers" and self.questions is None:
            raise ValueError("--suite answers needs --questions, what the recipe ask was asked")
        return self
