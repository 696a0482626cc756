"""Damaged files by the thousand through the decoding process, as a decode actor does it: many
files, one process, default limits.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from actors.confinement.sandbox import DecodeSandbox
from schemas.errors import DecoderCrashedError, VideoError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.fuzz.mutations import Damaged, damaged

PLANS = (
    SamplingPlan(num_frames=8, audio_rate=16_000),
    SamplingPlan(fps=4.0, audio_rate=16_000),
    SamplingPlan(fps=10.0, stretch_to=(64, 64), compress=True),
)

_WARM_UP = 100
"""Files after which libraries have what they need, and a process should not grow any more."""

_GROWTH_MB = 64
"""Room for what the parent's allocators keep."""

_IDLE_MB = 300
"""Memory of a decoding process between two files: 100 MB of libraries, and what allocators keep."""


@dataclass(kw_only=True)
class Campaign:
    """What came of the files.

    Attributes:
        outcomes: "decoded", or the class of the error -> how many files.
        wrong: what must not happen, a sentence each with the file's seed and story.
        replaced: decoding processes that were ended for a file.
        slowest_sec: seconds of the slowest file.
        most_mb: resident memory of an idle decoding process at most.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    replaced: int = 0
    slowest_sec: float = 0.0
    most_mb: float = 0.0
    wall_sec: float = 0.0

    def __str__(self) -> str:
        files = self.outcomes.total()
        told = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        return (
            f"{files} files in {self.wall_sec:.0f} s ({files / self.wall_sec:.0f} a second): {told}"
            f"; {self.replaced} processes replaced, an idle one had {self.most_mb:.0f} MB at most, "
            f"the slowest file took {self.slowest_sec:.1f} s"
        )


def run(
    corpus: Mapping[str, bytes], seeds: range, folder: Path, *, kept: Path | None = None
) -> Campaign:
    """Decode a damaged file for each seed.

    Args:
        folder: for the file that is being decoded.
        kept: where files are left that something went wrong with.
    """
    campaign, began = Campaign(), time.monotonic()
    here = psutil.Process()
    before: tuple[int, float] | None = None
    others = set(here.children(recursive=True))
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        child = _Child(sandbox, others)
        for number, seed in enumerate(seeds):
            chance = random.Random(seed)
            file, plan = damaged(chance, corpus), chance.choice(PLANS)
            path = folder / file.name
            path.write_bytes(file.data)
            at = time.monotonic()
            wrong = _decode(sandbox, path, plan, campaign)
            campaign.slowest_sec = max(campaign.slowest_sec, time.monotonic() - at)
            wrong += child.look(campaign)
            if number == _WARM_UP:
                before = here.num_fds(), _resident_mb(here)
            elif before is not None and (extra := here.num_fds() - before[0]) > 0:
                wrong.append(f"{extra} descriptors of the parent stay open")
                before = here.num_fds(), before[1]
            if wrong:
                campaign.wrong.append(f"--seed {seed} ({file.story}): {'; '.join(wrong)}")
                if kept is not None:
                    _keep(kept, seed, file)
            path.unlink()
    if before is not None and (grown := _resident_mb(here) - before[1]) > _GROWTH_MB:
        campaign.wrong.append(f"the parent grew by {grown:.0f} MB")
    left = set(here.children(recursive=True)) - others
    campaign.wrong += [f"{each} is left" for each in left]
    campaign.wall_sec = time.monotonic() - began
    return campaign


def _decode(
    sandbox: DecodeSandbox, path: Path, plan: SamplingPlan, campaign: Campaign
) -> list[str]:
    """Count the outcome; what is wrong with it."""
    try:
        sandbox.decode(str(path), plan)
    except VideoError as error:
        campaign.outcomes[type(error).__name__] += 1
        died = isinstance(error, DecoderCrashedError) and error.died
        return [str(error)] if died else []
    except Exception as error:
        campaign.outcomes[type(error).__name__] += 1
        return [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    campaign.outcomes["decoded"] += 1
    return []


class _Child:
    """The decoding process of the moment, looked at while it is idle.

    Args:
        others: children of this process that are none of the sandbox's.
    """

    def __init__(self, sandbox: DecodeSandbox, others: Collection[psutil.Process]) -> None:
        self._others = others
        sandbox.layers()  # starts it
        self._sandbox = sandbox
        self._process = self._now()
        self._descriptors = self._process.num_fds()

    def _now(self) -> psutil.Process:
        self._sandbox.layers()
        return psutil.Process(self._sandbox.pid)

    def look(self, campaign: Campaign) -> list[str]:
        """What is wrong with it after a file, and with other children of this process."""
        wrong, process = [], self._now()
        if process != self._process:
            self._process = process
            campaign.replaced += 1
        if (mb := _resident_mb(process)) > _IDLE_MB:
            wrong.append(f"the idle child has {mb:.0f} MB")
        campaign.most_mb = max(campaign.most_mb, mb)
        if (count := process.num_fds()) != self._descriptors:
            wrong.append(f"the child has {count} descriptors, not {self._descriptors}")
        left = set(psutil.Process().children()) - {process, *self._others}
        return wrong + [f"{each} is left" for each in left]


def _resident_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / (1 << 20)


def _keep(folder: Path, seed: int, file: Damaged) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}-{file.name}").write_bytes(file.data)
