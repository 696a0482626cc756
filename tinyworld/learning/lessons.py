"""What the tiny model is taught: the loss of one batch of each kind of lesson."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyworld import questions, tasks
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
from tinyworld.learning.towers import TowerHeads, augment, sound_loss, vision_loss
from tinyworld.network import Thinker
from tinyworld.pool import FRAMES, Sample
from tinyworld.tasks import Pair

STOOD, MOVED = 0.02, 0.1
"""A thing has not moved where its centre has by less than the first share of the picture's side,
and has where it has by more than the second; what lies between is not taught."""


class Lessons:
    """Losses of a model, and how much of its answers is right.

    Attributes:
        frozen: the towers do not learn.
        meters: by task, whether each answer was wholly right.
    """

    def __init__(self, model: Thinker, words: Vocabulary, rng: random.Random) -> None:
        self.model, self.words, self.rng = model, words, rng
        self.readers = TowerHeads()
        self.frozen = False
        self.meters: dict[str, list[float]] = defaultdict(list)

    def towers(self, seen: Sequence[Sample], heard: Sequence[Sample]) -> Tensor:
        """The towers alone."""
        loss, right = vision_loss(self.model.visual, self.readers, seen)
        for name, value in right.items():
            self.meters[name].append(value)
        sound, value = sound_loss(self.model.audio_tower, self.readers, heard)
        self.meters["sound"].append(value)
        return loss + sound

    def clips(self, samples: Sequence[Sample]) -> Tensor:
        """Clips with every request that fits them, and a question or two."""
        frames = torch.from_numpy(np.stack([sample.frames for sample in samples])).float()
        seen = self._seen(frames.unflatten(1, (FRAMES // 2, 2)))
        heard = self._heard(samples)
        parts = heard.split([sound_tokens(sample.mel.shape[1]) for sample in samples])
        rows, kept = [], []
        for sample, sound in zip(samples, parts, strict=True):
            # Windows are asked about without their sound.
            often = sample.scenes[0].sound == "silence" or len(sample.scenes) == 2
            mute = self.rng.random() < (0.5 if often else 0.1)
            height, width = (side // 28 for side in sample.frames.shape[1:3])
            part = video_part(
                self.words, grid=(FRAMES // 2, height, width), seconds=2 / sample.fps,
                sound=None if mute else len(sound),
            )  # fmt: skip
            kept += [] if mute else [sound]
            rows.append(Row(*part, self._about(sample, mute=mute)))
        return self._loss(rows, seen.flatten(0, 2), torch.cat(kept) if kept else None)

    def frames(self, samples: Sequence[Sample]) -> Tensor:
        """Single pictures."""
        numbers = [self.rng.randrange(FRAMES) for _ in samples]
        shown = np.stack([s.frames[[n, n]] for s, n in zip(samples, numbers, strict=True)])
        seen = self._seen(torch.from_numpy(shown).float()[:, None])
        rows = [
            Row(*image_part(self.words, *self._grid(s)), [tasks.frame(s.scenes[s.which[n]])])
            for s, n in zip(samples, numbers, strict=True)
        ]
        return self._loss(rows, seen.flatten(0, 2), None)

    def changes(self, samples: Sequence[Sample]) -> Tensor:
        """Two moments of each clip, of two frames each, and what has changed between them."""
        samples = [sample for sample in samples if clear_changes(sample)]
        chosen = [self.rng.choice(clear_changes(sample)) for sample in samples]
        shown = np.stack(
            [s.frames[[a, a + 1, b, b + 1]] for s, (a, b) in zip(samples, chosen, strict=True)]
        )
        seen = self._seen(torch.from_numpy(shown).float().unflatten(1, (2, 2)))
        rows = []
        for sample, (first, second) in zip(samples, chosen, strict=True):
            # Of four frames two make a patch.
            seconds = 2 / 3 * (second + 1 - first) / sample.fps
            part = video_part(
                self.words, grid=(2, *self._grid(sample)), seconds=seconds, sound=None
            )
            scenes = [sample.scenes[sample.which[index]] for index in (first, second)]
            moved = direction(sample.places[first], sample.places[second])
            before = tasks.told_before(scenes[0], self.rng)
            rows.append(Row(*part, [tasks.change(scenes[0], scenes[1], moved, before)]))
        return self._loss(rows, seen.flatten(0, 2), None)

    def sounds(self, samples: Sequence[Sample]) -> Tensor:
        """Sounds without pictures, of clips of one scene."""
        rows = [
            Row(*sound_part(self.words, sound_tokens(sample.mel.shape[1])),
                [tasks.sound_only(sample.scenes[0]), tasks.heard(sample.scenes[0])])
            for sample in samples
        ]  # fmt: skip
        return self._loss(rows, None, self._heard(samples))

    def text(self, count: int) -> Tensor:
        """So many requests that need no media."""
        rows = [Row(*text_part(), [tasks.text_pair(self.rng)]) for _ in range(count)]
        return self._loss(rows, None, None)

    def told(self) -> str:
        """The meters as a line, which begin anew."""
        told = " ".join(f"{name} {np.mean(v):.3f}" for name, v in self.meters.items() if v)
        self.meters.clear()
        return told

    # --- parts -----------------------------------------------------------------------------------

    def _about(self, sample: Sample, *, mute: bool) -> list[Pair]:
        scene = sample.scenes[0]
        pairs = [tasks.clip(sample.scenes, tasks.context_for(sample.scenes, self.rng))]
        if len(sample.scenes) == 1:
            told = tasks.without_sound(scene) if mute else scene
            pairs = [tasks.omni(told), tasks.structured(scene), *pairs]
            pairs += [tasks.seen(scene)] if mute else []
        return [*pairs, *questions.some(sample.scenes, self.rng, mute=mute)]

    @staticmethod
    def _grid(sample: Sample) -> tuple[int, int]:
        """Rows and columns of a picture's tokens."""
        height, width = sample.frames.shape[1:3]
        return height // 28, width // 28

    def _seen(self, pairs: Tensor) -> Tensor:
        """The vision tower's output (N, pairs, tokens, hidden) for (N, pairs, 2, H, W, 3)."""
        is_lesson = torch.is_grad_enabled()
        if is_lesson:
            pairs = augment(pairs.flatten(1, 2)).view_as(pairs)
        with torch.set_grad_enabled(is_lesson and not self.frozen):
            x, grid = patches(pairs.flatten(0, 1))
            return self.model.visual(x, grid).unflatten(0, pairs.shape[:2])

    def _heard(self, samples: Sequence[Sample]) -> Tensor:
        """The sound tower's output (all tokens, hidden)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            heard: Tensor = self.model.audio_tower(*chunks([sample.mel for sample in samples]))
            return heard

    def _loss(self, rows: Sequence[Row], seen: Tensor | None, heard: Tensor | None) -> Tensor:
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


def direction(first: Sequence[float], second: Sequence[float]) -> str | None:
    """Where to a thing has moved between two places (x, y, ...), None where it stands."""
    x, y = second[0] - first[0], second[1] - first[1]
    if max(abs(x), abs(y)) < MOVED:
        return None
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


def clear_changes(sample: Sample) -> list[tuple[int, int]]:
    """Pairs of frames, the earlier one first, between which it is plain what has changed; the frame
    after each shows the same scene, and comes before the other of the pair.
    """
    which = sample.which

    def is_clear(first: int, second: int) -> bool:
        way = np.abs(sample.places[second, :2] - sample.places[first, :2]).max()
        return which[first] != which[second] or not STOOD < way < MOVED

    return [
        (first, second)
        for first, second in combinations(range(FRAMES - 1), 2)
        if second > first + 1
        and which[first] == which[first + 1]
        and which[second] == which[second + 1]
        and is_clear(first, second)
    ]
