"""The first stage of training: towers alone, told at every token what is there.

Trained through the language model from the start, the vision tower does not learn shapes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tinyworld import world
from tinyworld.data import chunks, patches
from tinyworld.network import HIDDEN, SoundTower, Visual
from tinyworld.pool import FRAMES, Sample

THING = ("shape", "colour", "size", "motion")
WHOLE = ("background", "lighting", "angle", "camera", "text", "position")
CLASSES: dict[str, tuple[str, ...]] = {
    "shape": world.SHAPES,
    "colour": world.COLOURS,
    "size": world.SIZES,
    "motion": world.MOTIONS,
    "background": world.BACKGROUNDS,
    "lighting": world.LIGHTINGS,
    "angle": world.ANGLES,
    "camera": world.CAMERAS,
    "text": world.TEXTS,
    "position": world.POSITIONS,
}
HARD = ("position", "camera")
IGNORED = -100


def augment(frames: Tensor, *, shift: bool = True) -> Tensor:
    """Pictures float (N, ..., H, W, 3), 0 to 255, with other light, shifted and noisy."""
    count = frames.shape[0]
    shape = (count,) + (1,) * (frames.ndim - 2)
    gain = 1 + 0.04 * torch.randn(*shape, 1)
    tint = 2.5 * torch.randn(*shape, 3)
    frames = frames * gain + tint
    if shift:
        moved = []
        for sample in frames.unbind(0):
            rows, columns = random.randint(-3, 3), random.randint(-3, 3)
            high = torch.arange(sample.shape[-3]).add(rows).clamp(0, sample.shape[-3] - 1)
            wide = torch.arange(sample.shape[-2]).add(columns).clamp(0, sample.shape[-2] - 1)
            moved.append(sample.index_select(-3, high).index_select(-2, wide))
        frames = torch.stack(moved)
    frames = frames + torch.randn_like(frames) * (3 * torch.rand(*shape, 1))
    return frames.clamp(0, 255)


class TowerHeads(nn.Module):
    """Linear readers of the towers' tokens; thrown away after the stage."""

    def __init__(self) -> None:
        super().__init__()
        self.here = nn.ModuleDict({name: nn.Linear(HIDDEN, len(CLASSES[name])) for name in THING})
        self.whole = nn.ModuleDict(
            {name: nn.Linear(HIDDEN, len(names)) for name, names in CLASSES.items()}
        )
        self.covered = nn.Linear(HIDDEN, 2)
        self.sound = nn.Linear(HIDDEN, len(world.SOUNDS))


def _labels(scene: world.Scene, backwards: bool) -> dict[str, int]:
    shown = world.reversed_in_time(scene) if backwards else scene
    return {name: names.index(getattr(shown, name)) for name, names in CLASSES.items()}


def vision_loss(
    visual: Visual, readers: TowerHeads, samples: Sequence[Sample]
) -> tuple[Tensor, dict[str, float]]:
    """Loss and accuracies on one pair of frames of each sample; all have one size.

    A tenth of the pairs are one frame twice, as a single picture is to the tower.
    """
    pictures: list[NDArray[np.uint8]] = []
    labels: dict[str, list[int]] = {name: [] for name in CLASSES}
    places = []
    for sample in samples:
        still = random.random() < 0.1
        starts = [k for k in range(FRAMES - 1) if sample.which[k] == sample.which[k + 1]]
        first = random.choice(starts)
        pair = [first, first if still else first + 1]
        backwards = random.random() < 0.5
        pair = pair[::-1] if backwards else pair
        pictures.append(sample.frames[pair])
        found = _labels(sample.scenes[sample.which[first]], backwards)
        if still:
            found["motion"] = found["camera"] = IGNORED
        for name, label in found.items():
            labels[name].append(label)
        places.append(sample.places[pair].mean(0))
    x, (height, width) = patches(augment(torch.from_numpy(np.stack(pictures)).float()))
    tokens = visual(x, (height, width))
    covered, near = _cover(np.stack(places), height // 2, width // 2)
    loss = F.cross_entropy(readers.covered(tokens).flatten(0, 1), covered.flatten())
    right: dict[str, float] = {}
    for name, values in labels.items():
        truth = torch.tensor(values)[:, None].expand(tokens.shape[:2])
        logits = readers.whole[name](tokens)
        weight = 1.5 if name in HARD else 0.5
        loss = loss + weight * F.cross_entropy(logits.flatten(0, 1), truth.flatten())
        known = truth != IGNORED
        right[name] = float((logits.argmax(-1) == truth)[known].float().mean())
        if name in THING:
            local = torch.where(near, truth, IGNORED)
            logits = readers.here[name](tokens)
            loss = loss + F.cross_entropy(logits.flatten(0, 1), local.flatten())
    return loss, right


def _cover(places: NDArray[np.float32], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which tokens the shape lies on (labels), and which are near enough to tell what it is."""
    x, y, radius = (torch.from_numpy(part)[:, None, None] for part in places.T)
    columns = (torch.arange(width) + 0.5)[None, None]
    rows = (torch.arange(height) + 0.5)[None, :, None]
    distance = ((columns - x * width) ** 2 + (rows - y * height) ** 2).sqrt().flatten(1)
    reach = (radius * width).flatten(1)
    return (distance < reach + 0.25).long(), distance < reach + 0.45


def sound_loss(
    tower: SoundTower, readers: TowerHeads, samples: Sequence[Sample]
) -> tuple[Tensor, float]:
    """Loss and accuracy on the sound of samples, which have one scene each."""
    x, lengths = chunks([sample.mel for sample in samples])
    tokens = tower(x, lengths)
    labels = []
    for sample in samples:
        kept = ((sample.mel.shape[1] - 1) // 2 + 1) // 2
        labels += [world.SOUNDS.index(sample.scenes[0].sound)] * kept
    logits = readers.sound(tokens)
    truth = torch.tensor(labels)
    right = float((logits.argmax(-1) == truth).float().mean())
    return F.cross_entropy(logits, truth), right
