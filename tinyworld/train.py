"""Train the tiny model: `python -m tinyworld.train --out models/tiny-omni --minutes 102`.

Stages, by share of the time: towers alone; the language model on frozen towers; everything.
A run that was interrupted goes on where its state says (`--state`).
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as F
from torch import Tensor

from tinyworld import tasks
from tinyworld.data import (
    Row,
    Vocabulary,
    chunks,
    collate,
    hidden_states,
    image_part,
    patches,
    sound_part,
    sound_tokens,
    text_part,
    video_part,
)  # fmt: skip
from tinyworld.model import export, make_tokenizer
from tinyworld.network import Thinker
from tinyworld.optimizer import Optimizer, Team
from tinyworld.pool import FRAMES, Sample, fill_pool, pool_files, read_pool
from tinyworld.towers import TowerHeads, augment, sound_loss, vision_loss

STAGES = (("towers", 0.3, 3e-3), ("frozen", 0.11, 4e-3), ("whole", 0.59, 2e-3))
TOWER_SCALES = {"visual": 0.4, "audio_tower": 0.4}
EXPORT_SECONDS = 300.0
REPORT_SECONDS = 60.0
MEMBERS = 2  # processes of one thread each


class Trainer:
    """The model, its data and its state on disk."""

    def __init__(self, arguments: argparse.Namespace, team: Team) -> None:
        self.team = team
        self.folder: Path = arguments.state
        self.out: Path = arguments.out
        self.total: float = arguments.minutes * 60
        self.words = Vocabulary(make_tokenizer())
        self.model = Thinker()
        self.readers = TowerHeads()
        self.rng = random.Random(f"{arguments.seed}-{team.rank}")
        self.stage, self.spent, self.steps, self.ticked = 0, 0.0, 0, 0.0
        self.optimizer = self._optimizer()
        self.samples: list[Sample] = []
        self.by_grid: dict[tuple[int, ...], list[Sample]] = {}
        self.files: set[Path] = set()
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}
        self.validation = read_pool(pool_files(self.folder / "pool", "validation"))
        self.meters: dict[str, list[float]] = defaultdict(list)
        self._resume()

    # --- state -----------------------------------------------------------------------------------

    def _optimizer(self) -> Optimizer:
        named = [*self.model.named_parameters()]
        name = STAGES[self.stage][0]
        readers = [(f"lm_head.{n}", p) for n, p in self.readers.named_parameters()]
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
            "readers": self.readers.state_dict(),
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
        self.readers.load_state_dict(state["readers"])
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

    def towers_loss(self, count: int) -> Tensor:
        """Loss of the towers alone."""
        loss, right = vision_loss(self.model.visual, self.readers, self.draw(count))
        for name, value in right.items():
            self.meters[name].append(value)
        samples = self.draw(self.share(6), single=True)
        heard, value = sound_loss(self.model.audio_tower, self.readers, samples)
        self.meters["sound"].append(value)
        return loss + heard

    def features(self, samples: Sequence[Sample], frozen: bool) -> tuple[Tensor, list[Tensor]]:
        """The towers' output: pictures (N, 4, tokens, hidden), and sound per sample."""
        if frozen and all(id(sample) in self.cache for sample in samples):
            kept = [self.cache[id(sample)] for sample in samples]
            return torch.stack([k[0] for k in kept]).float(), [k[1].float() for k in kept]
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            frames = torch.from_numpy(np.stack([sample.frames for sample in samples])).float()
            if not frozen and torch.is_grad_enabled():
                frames = augment(frames)
            pairs = frames.unflatten(1, (FRAMES // 2, 2)).flatten(0, 1)
            x, grid = patches(pairs)
            seen = self.model.visual(x, grid).unflatten(0, (len(samples), FRAMES // 2))
            heard = self.model.audio_tower(*chunks([sample.mel for sample in samples]))
        parts = list(heard.split([sound_tokens(sample.mel.shape[1]) for sample in samples]))
        if frozen and torch.is_grad_enabled():
            for sample, picture, sound in zip(samples, seen, parts, strict=True):
                self.cache[id(sample)] = picture.half(), sound.half()
        return seen, parts

    def clips_loss(self, samples: Sequence[Sample], frozen: bool) -> Tensor:
        """Loss on clips with every question that fits them."""
        seen, heard = self.features(samples, frozen)
        rows, kept = [], []
        for sample, sound in zip(samples, heard, strict=True):
            scene = sample.scenes[0]
            # Windows are asked about without their sound.
            often = scene.sound == "silence" or len(sample.scenes) == 2
            mute = self.rng.random() < (0.5 if often else 0.03)
            height, width = (side // 28 for side in sample.frames.shape[1:3])
            ids, positions = video_part(
                self.words, grid=(FRAMES // 2, height, width), seconds=2 / sample.fps,
                sound=None if mute else len(sound),
            )  # fmt: skip
            pairs = [tasks.clip(sample.scenes, tasks.context_for(sample.scenes, self.rng))]
            if len(sample.scenes) == 1:
                told = tasks.without_sound(scene) if mute else scene
                pairs = [tasks.omni(told), tasks.structured(scene), *pairs]
            kept += [] if mute else [sound]
            rows.append(Row(ids, positions, pairs))
        return self.rows_loss(rows, seen.flatten(0, 2), torch.cat(kept) if kept else None)

    def frames_loss(self, samples: Sequence[Sample], frozen: bool) -> Tensor:
        """Loss on single pictures."""
        numbers = [self.rng.randrange(FRAMES) for _ in samples]
        frames = [s.frames[[n, n]] for s, n in zip(samples, numbers, strict=True)]
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            x, grid = patches(augment(torch.from_numpy(np.stack(frames)).float()))
            seen = self.model.visual(x, grid)
        part = image_part(self.words, grid[0] // 2, grid[1] // 2)
        rows = [
            Row(*part, [tasks.frame(s.scenes[s.which[n]])])
            for s, n in zip(samples, numbers, strict=True)
        ]
        return self.rows_loss(rows, seen.flatten(0, 1), None)

    def sounds_loss(self, samples: Sequence[Sample], frozen: bool) -> Tensor:
        """Loss on sounds without pictures."""
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            heard = self.model.audio_tower(*chunks([sample.mel for sample in samples]))
        rows = [
            Row(*sound_part(self.words, sound_tokens(sample.mel.shape[1])),
                [tasks.sound_only(sample.scenes[0])])
            for sample in samples
        ]  # fmt: skip
        return self.rows_loss(rows, None, heard)

    def text_loss(self, count: int) -> Tensor:
        """Loss on questions about text."""
        rows = [Row(*text_part(), [tasks.text_pair(self.rng)]) for _ in range(count)]
        return self.rows_loss(rows, None, None)

    def rows_loss(self, rows: Sequence[Row], seen: Tensor | None, heard: Tensor | None) -> Tensor:
        """Summed cross entropy of answers, per row; also notes how many are wholly right."""
        batch = collate(self.words, rows)
        states = hidden_states(self.model, self.words, batch, seen, heard)
        wanted = batch.weights > 0
        logits = self.model.lm_head(states[wanted])
        truth = batch.targets[wanted]
        found = torch.zeros_like(batch.targets)
        found[wanted] = logits.detach().argmax(-1)
        for row, spans, index in zip(rows, batch.spans, range(len(rows)), strict=True):
            for pair, (first, end) in zip(row.pairs, spans, strict=True):
                same = torch.equal(found[index, first:end], batch.targets[index, first:end])
                self.meters[pair.task].append(float(same))
        losses = F.cross_entropy(logits, truth, reduction="none") * batch.weights[wanted]
        return losses.sum() / len(rows) / 8

    def step(self) -> None:
        """One update of the current stage."""
        name, _, rate = STAGES[self.stage]
        if name == "towers":
            losses = [self.towers_loss(self.share(72))]
        else:
            frozen = name == "frozen"
            losses = [self.clips_loss(self.draw(self.share(32 if frozen else 20)), frozen)]
            losses[0].backward()
            kind = self.steps % 4
            if kind in (0, 2):
                losses.append(self.text_loss(self.share(20)))
            elif kind == 1:
                losses.append(self.frames_loss(self.draw(self.share(16)), frozen))
            else:
                losses.append(self.sounds_loss(self.draw(self.share(6), single=True), frozen) * 0.5)
            if not frozen:  # the towers go on learning from what has told them most
                losses[-1].backward()
                losses.append(self.towers_loss(self.share(48)) * 0.4)
        losses[-1].backward()
        self.meters["loss"].append(float(losses[0].detach()))
        self._tick()
        self._average()
        self.optimizer.step(rate * self._schedule())
        self.steps += 1

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
        start = sum(share for _, share, _ in STAGES[: self.stage]) * self.total
        done = min(1.0, (self.spent - start) / (STAGES[self.stage][1] * self.total))
        floor = 0.01 if self.stage == len(STAGES) - 1 else 0.15
        return min(1.0, max(0.0, done) * 40 + 0.1) * max(floor, 1 - done)

    # --- the whole -------------------------------------------------------------------------------

    def validate(self) -> None:
        """Print the share of wholly right answers on combinations that training never shows."""
        self.meters.clear()
        with torch.no_grad():
            for size in {sample.frames.shape for sample in self.validation}:
                some = [s for s in self.validation if s.frames.shape == size][:40]
                some.sort(key=lambda sample: sample.mel.shape[1])
                for start in range(0, len(some), 20):
                    self.clips_loss(some[start : start + 20], frozen=False)
                self.frames_loss(some[:20], frozen=False)
        print(f"  validation: {self._told()}", flush=True)

    def _told(self) -> str:
        told = " ".join(f"{name} {np.mean(v):.3f}" for name, v in self.meters.items() if v)
        self.meters.clear()
        return told

    def run(self) -> None:
        """Train until the time is spent."""
        reported = exported = looked = time.monotonic()
        self.ticked = time.process_time()
        self.refresh()
        while self.spent < self.total:
            bounds = np.cumsum([share for _, share, _ in STAGES]) * self.total
            stage = min(int(np.searchsorted(bounds, self.spent, side="right")), len(STAGES) - 1)
            if stage != self.stage:
                if self.team.rank == 0:
                    self.save()
                self.stage = stage
                self.cache.clear()
                self.optimizer = self._optimizer()
                self.meters.clear()
                print(f"stage {STAGES[stage][0]}, {len(self.samples)} clips", flush=True)
            self.step()
            now = time.monotonic()
            # Rendering goes on beside the first minutes; each member looks for itself.
            if now - looked > 20:
                self.refresh()
                looked = time.monotonic()
            if self.team.rank:
                self.meters.clear()
                continue
            if now - reported > REPORT_SECONDS:
                print(f"{self.spent / 60:.1f} min, step {self.steps}: {self._told()}", flush=True)
                reported = now
            if now - exported > EXPORT_SECONDS:
                if STAGES[self.stage][0] != "towers":
                    self.validate()
                self.save()
                exported = now
        if self.team.rank == 0:
            self.validate()
            self.save()


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
    torch.multiprocessing.spawn(train, (arguments, MEMBERS), nprocs=MEMBERS)
    rendering.join()


if __name__ == "__main__":
    main()
