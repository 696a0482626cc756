"""Train the tiny model: `python -m tinyworld.train --out models/tiny-omni --minutes 102`.

Stages, by share of the time: towers alone; the language model on frozen towers; everything.
With `--start FOLDER` the language model of a finished model learns on, on its frozen towers: so it
is taught what it has not been asked before, beside all that it knows.
A run that was interrupted goes on where its state says (`--state`).
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from safetensors.torch import load_file
from torch import Tensor

from tinyworld.data import Vocabulary
from tinyworld.learning.lessons import Lessons
from tinyworld.learning.optimizer import Optimizer, Team
from tinyworld.model import export, make_tokenizer
from tinyworld.network import Thinker
from tinyworld.pool import Sample, fill_pool, pool_files, read_pool


class Stage(NamedTuple):
    """A part of the training.

    Attributes:
        share: of the whole time.
        rate: the highest.
        batch: clips, pictures or texts of a lesson.
    """

    name: Literal["towers", "frozen", "whole"]
    share: float
    rate: float
    batch: int


STAGES = (
    Stage("towers", 0.3, 3e-3, 72),
    Stage("frozen", 0.11, 4e-3, 20),
    Stage("whole", 0.59, 2e-3, 20),
)
LEARNS_ON = (Stage("frozen", 1.0, 1.2e-3, 8),)
TURNS = ("text", "changes", "text", "frames", "text", "changes", "text", "sounds")
"""What each step teaches beside clips, in turn."""
TOWER_SCALES = {"visual": 0.4, "audio_tower": 0.4}
EXPORT_SECONDS = 300.0
REPORT_SECONDS = 60.0


class Trainer:
    """The model, its data and its state on disk."""

    def __init__(self, arguments: argparse.Namespace, team: Team) -> None:
        self.team = team
        self.folder: Path = arguments.state
        self.out: Path = arguments.out
        self.total: float = arguments.minutes * 60
        self.stages = LEARNS_ON if arguments.start else STAGES
        self.model = Thinker()
        if arguments.start:
            self.model.load_state_dict(read_weights(arguments.start))
        self.rng = random.Random(f"{arguments.seed}-{team.rank}")
        self.lessons = Lessons(self.model, Vocabulary(make_tokenizer()), self.rng)
        self.stage, self.spent, self.steps, self.ticked = 0, 0.0, 0, 0.0
        self.optimizer = self._optimizer()
        self.samples: list[Sample] = []
        self.by_grid: dict[tuple[int, ...], list[Sample]] = {}
        self.files: set[Path] = set()
        self.validation = read_pool(pool_files(self.folder / "pool", "validation"))
        self._resume()

    # --- state -----------------------------------------------------------------------------------

    def _optimizer(self) -> Optimizer:
        named = [*self.model.named_parameters()]
        name = self.stages[self.stage].name
        readers = [(f"lm_head.{n}", p) for n, p in self.lessons.readers.named_parameters()]
        if name == "towers":
            named = [(n, p) for n, p in named if n.startswith(tuple(TOWER_SCALES))]
            return Optimizer([*named, *readers], {}, self.team)
        if name == "frozen":
            named = [(n, p) for n, p in named if not n.startswith(tuple(TOWER_SCALES))]
            return Optimizer(named, {}, self.team)
        return Optimizer([*named, *readers], TOWER_SCALES, self.team)

    def save(self) -> None:
        """The state to go on from, and a model folder to use meanwhile."""
        state = {
            "model": self.model.state_dict(),
            "readers": self.lessons.readers.state_dict(),
            "optimizer": self.optimizer.state(),
            "stage": self.stage,
            "spent": self.spent,
            "steps": self.steps,
        }
        part = self.folder / "state.part"
        torch.save(state, part)
        part.replace(self.folder / "state.pt")
        export(self.out, self.model.state_dict())

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.lessons.readers.load_state_dict(state["readers"])
        self.stage, self.spent, self.steps = state["stage"], state["spent"], state["steps"]
        self.optimizer = self._optimizer()
        self.optimizer.load(state["optimizer"])
        print(f"goes on after {self.spent / 60:.1f} minutes in stage {self.stage}", flush=True)

    def refresh(self) -> None:
        """Take in clips that were rendered since the last look."""
        paths = [
            path for path in pool_files(self.folder / "pool", "train") if path not in self.files
        ]
        self.files.update(paths)
        fresh = read_pool(paths)
        self.samples += fresh
        for sample in fresh:
            self.by_grid.setdefault(sample.frames.shape[1:3], []).append(sample)

    def draw(self, count: int, *, single: bool = False) -> list[Sample]:
        """Samples of one picture size, sizes by their frequency, lengths close together.

        `single` leaves out clips of two scenes.
        """
        size = self.rng.choice(self.samples).frames.shape[1:3]
        pool = self.by_grid[size]
        some = self.rng.sample(pool, min(len(pool), count * 4))
        some = [sample for sample in some if not single or len(sample.scenes) == 1]
        some.sort(key=lambda sample: sample.mel.shape[1])
        start = self.rng.randrange(max(1, len(some) - count))
        return some[start : start + count]

    def share(self, count: int) -> int:
        """This member's part of a batch of `count`."""
        return count // self.team.count

    # --- steps -----------------------------------------------------------------------------------

    def step(self) -> None:
        """One update of the current stage."""
        stage, lessons = self.stages[self.stage], self.lessons
        lessons.frozen = stage.name == "frozen"
        count = self.share(stage.batch)
        if stage.name == "towers":
            losses = [self._towers(count)]
        else:
            losses = [lessons.clips(self.draw(count))]
            losses[0].backward()
            turn = TURNS[self.steps % len(TURNS)]
            if turn == "text":
                losses.append(lessons.text(4 * count))
            elif turn == "frames":
                losses.append(lessons.frames(self.draw(count)))
            elif turn == "changes":
                losses.append(lessons.changes(self.draw(2 * count)))
            else:
                losses.append(lessons.sounds(self._singles()) * 0.5)
            if stage.name == "whole":  # the towers go on learning from what has told them most
                losses[-1].backward()
                losses.append(self._towers(self.share(48)) * 0.4)
        losses[-1].backward()
        lessons.meters["loss"].append(float(losses[0].detach()))
        self._tick()
        self._average()
        self.optimizer.step(stage.rate * self._schedule())
        self.steps += 1

    def _towers(self, count: int) -> Tensor:
        return self.lessons.towers(self.draw(count), self._singles())

    def _singles(self) -> list[Sample]:
        """Some clips of one scene, to listen to."""
        return self.draw(self.share(6), single=True)

    def _tick(self) -> None:
        """Count the processor time since the last step: a busy machine takes longer, not less."""
        now = time.process_time()
        self.spent += now - self.ticked
        self.ticked = now

    def _average(self) -> None:
        """Give all members the mean of their gradients, and the first member's clock."""
        if self.team.count == 1:
            return
        gradients = self.optimizer.gradients()
        clock = torch.tensor([self.spent if self.team.rank == 0 else 0.0])
        flat = torch.cat([clock, *(gradient.flatten() for gradient in gradients)])
        self.team.add(flat)
        self.spent = float(flat[0])
        parts = (flat[1:] / self.team.count).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _schedule(self) -> float:
        """Warm-up and a linear fall in each stage; only the last one falls to zero."""
        start = sum(stage.share for stage in self.stages[: self.stage]) * self.total
        done = min(1.0, (self.spent - start) / (self.stages[self.stage].share * self.total))
        floor = 0.01 if self.stage == len(self.stages) - 1 else 0.15
        return min(1.0, max(0.0, done) * 40 + 0.1) * max(floor, 1 - done)

    # --- the whole -------------------------------------------------------------------------------

    def validate(self) -> None:
        """Print the share of wholly right answers on combinations that training never shows."""
        self.lessons.told()
        with torch.no_grad():
            for size in {sample.frames.shape for sample in self.validation}:
                some = [s for s in self.validation if s.frames.shape == size][:40]
                some.sort(key=lambda sample: sample.mel.shape[1])
                for start in range(0, len(some), 20):
                    self.lessons.clips(some[start : start + 20])
                self.lessons.frames(some[:20])
                self.lessons.changes(some[:20])
                self.lessons.sounds([s for s in some if len(s.scenes) == 1][:10])
            self.lessons.text(60)
        print(f"  validation: {self.lessons.told()}", flush=True)

    def run(self) -> None:
        """Train until the time is spent."""
        reported = exported = looked = time.monotonic()
        self.ticked = time.process_time()
        self.refresh()
        bounds = np.cumsum([stage.share for stage in self.stages]) * self.total
        while self.spent < self.total:
            stage = min(int(np.searchsorted(bounds, self.spent, side="right")), len(bounds) - 1)
            if stage != self.stage:
                if self.team.rank == 0:
                    self.save()
                self.stage = stage
                self.optimizer = self._optimizer()
                self.lessons.meters.clear()
                print(f"stage {self.stages[stage].name}, {len(self.samples)} clips", flush=True)
            self.step()
            now = time.monotonic()
            # Rendering goes on beside the first minutes; each member looks for itself.
            if now - looked > 20:
                self.refresh()
                looked = time.monotonic()
            if self.team.rank:
                self.lessons.meters.clear()
                continue
            if now - reported > REPORT_SECONDS:
                told = self.lessons.told()
                print(f"{self.spent / 60:.1f} min, step {self.steps}: {told}", flush=True)
                reported = now
            if now - exported > EXPORT_SECONDS:
                if self.stages[self.stage].name != "towers":
                    self.validate()
                self.save()
                exported = now
        if self.team.rank == 0:
            self.validate()
            self.save()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The thinker's parameters of an exported model, by their names without `thinker.`."""
    stored = load_file(folder / "model.safetensors")
    return {name.removeprefix("thinker."): value.float() for name, value in stored.items()}


def train(rank: int, arguments: argparse.Namespace, count: int) -> None:
    """What one member of the team does."""
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    address = f"file://{arguments.state.resolve()}/meeting"
    torch.distributed.init_process_group("gloo", address, rank=rank, world_size=count)
    trainer = Trainer(arguments, Team(rank, count))
    torch.manual_seed(arguments.seed + rank)
    random.seed(arguments.seed + rank)
    trainer.run()
    torch.distributed.destroy_process_group()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/tiny-omni"))
    parser.add_argument("--state", type=Path, default=Path("out/tiny-model"))
    parser.add_argument("--minutes", type=float, default=102.0)
    parser.add_argument("--files", type=int, default=100, help="of 100 rendered clips each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--start", type=Path, help="folder of a model whose language model learns on"
    )
    parser.add_argument("--members", type=int, default=2, help="processes, of one thread each")
    arguments = parser.parse_args()
    pool = arguments.state / "pool"
    fill_pool(pool, shards=2, split="validation")
    # Training starts on the first clips while the rest are rendered.
    rendering = threading.Thread(
        target=fill_pool, args=(pool,), kwargs={"shards": arguments.files, "split": "train"}
    )
    rendering.start()
    while not any(pool.glob("train-*.pickle")):
        time.sleep(1)
    (arguments.state / "meeting").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (arguments, arguments.members), nprocs=arguments.members)
    rendering.join()


if __name__ == "__main__":
    main()
