"""What a run says about itself when it ends: summary, configuration, completion mark."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rayjob.counts import Counts
from rayjob.output.commits import Commit
from rayjob.output.layout import run_folder
from rayjob.output.store import Guard, TableStore

EXIT_OK = 0
EXIT_TOO_MANY_FAILURES = 3


class Cost(BaseModel):
    """What the engines cost; ``gpu_hours`` is 0 where they ran on CPUs or elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu_hours: float = 0.0
    money: float | None = None

    @classmethod
    def of(
        cls, *, gpu_sec: float, price_per_gpu_hour: float | None, tokens: float | None = None
    ) -> Cost:
        """The cost of ``gpu_sec`` seconds of one GPU, and of tokens in money."""
        hours = gpu_sec / 3600
        gpus = None if price_per_gpu_hour is None else hours * price_per_gpu_hour
        known = [each for each in (gpus, tokens) if each is not None]
        money = round(sum(known), 4) if known else None
        return cls(gpu_hours=round(hours, 6), money=money)


class RunSummary(Counts):
    """The figures of a finished run. Times in seconds of wall time."""

    run_id: str = Field(description="the name of its folder")
    prompt_hash: str = Field(
        default="", description="of system message and prompts, as in the captions' column"
    )
    prompt_source: Literal["own", "built-in", ""] = Field(
        default="",
        description="`own` where a prompt or the system message is the user's; `built-in` where "
        "all are the recipe's",
    )
    videos_in: int = Field(ge=0, description="inputs of this run, with those skipped")
    manifest_rows: int = Field(
        default=0,
        ge=0,
        description="rows of manifests that were looked at; where all inputs are such rows, "
        "`videos_in` and `inputs_repeated` together",
    )
    inputs_repeated: int = Field(
        default=0, ge=0, description="inputs that were listed again, and count once"
    )
    videos_skipped: int = Field(ge=0, description="inputs that earlier runs finished")
    videos_retried: int = Field(
        default=0, ge=0, description="inputs of this run that failed in an earlier one"
    )
    videos_changed: int = Field(
        default=0, ge=0, description="inputs whose content changed since they were done"
    )
    videos_replaced: int = Field(
        default=0, ge=0, description="inputs of this run that were captioned with other settings"
    )
    videos_gone: int = Field(
        default=0, ge=0, description="inputs that earlier runs finished and that are not there now"
    )
    videos_moved: int = Field(
        default=0,
        ge=0,
        description="inputs that count as finished by their id, under another uri",
    )
    wall_sec: float = Field(ge=0, description="from the start of the command, in seconds")
    startup_sec: float = Field(
        default=0.0, ge=0, description="part of wall_sec before the first engine was ready"
    )
    videos_per_sec: float = Field(ge=0, description="captioned videos over wall time")
    video_hours_per_hour: float = Field(ge=0, description="length of captioned videos over time")
    engine_busy_fraction: float | None = Field(
        ge=0,
        le=1,
        description="share of the time after start-up in which an engine had a request "
        "running, averaged over engines; null where no engine started",
    )
    engine_mean_running: float | None = Field(
        default=None,
        ge=0,
        description="requests in an engine while it was busy, on average; null where none was",
    )
    refused_layers: dict[str, str] = Field(
        default_factory=dict,
        description="layers of the decoding processes' confinement that some machine's kernel "
        "refused, and why; empty where all were on",
    )
    cost: Cost = Field(
        default=Cost(),
        description="`gpu_hours`: GPUs of the whole pool times the time it was asked for; `money`: "
        "those times the configured price, or what the tokens of an endpoint cost, null without "
        "a price",
    )

    def to_line(self) -> str:
        """The summary as one line of JSON, without a line break."""
        return self.model_dump_json()


def exit_code(summary: RunSummary, *, max_failure_rate: float) -> int:
    """0, or 3 where more than this share of the run's own videos failed."""
    done = summary.videos
    too_many = done > 0 and summary.videos_failed / done > max_failure_rate
    return EXIT_TOO_MANY_FAILURES if too_many else EXIT_OK


def write_config(store: TableStore, run_id: str, yaml: str) -> None:
    """Record the run's configuration in ``config.yaml``."""
    store.write_bytes(f"{run_folder(run_id)}/config.yaml", yaml.encode())


def write_summary(store: TableStore, summary: RunSummary) -> None:
    """Record the summary in ``summary.json``."""
    path = f"{run_folder(summary.run_id)}/summary.json"
    store.write_bytes(path, summary.to_line().encode() + b"\n")


def write_success(store: TableStore, run_id: str, counting: Commit, *, guard: Guard) -> None:
    """Mark the run as finished: every input stands in exactly one table.

    Args:
        counting: the shards that count.
        guard: as of :meth:`TableStore.write_bytes`.
    """
    # A mark of an earlier start under this id may have landed since.
    store.delete(_success(run_id))
    store.write_bytes(_success(run_id), counting.to_json(), guard=guard, once=True)


def clear_success(store: TableStore, run_id: str) -> None:
    """Take the mark away, before a run goes on under an id that was finished before."""
    store.delete(_success(run_id))


def _success(run_id: str) -> str:
    return f"{run_folder(run_id)}/_SUCCESS"
