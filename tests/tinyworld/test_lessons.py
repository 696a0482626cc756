"""What the model is taught: every kind of request, and only what can be seen or heard."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tinyworld import questions
from tinyworld.data import Vocabulary
from tinyworld.learning.lessons import Lessons, clear_changes, direction
from tinyworld.model import make_tokenizer
from tinyworld.network import Thinker
from tinyworld.pool import FRAMES, Sample, extractor, make_sample
from tinyworld.world import sample_scenes


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in training: several spend their time on waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sample(ways: list[float], which: list[int] | None = None) -> Sample:
    """A clip of a thing at these places along the picture's width."""
    places = np.zeros((FRAMES, 3), np.float32)
    places[:, 0] = ways
    return Sample(
        scenes=sample_scenes(2, 1),
        frames=np.zeros((FRAMES, 112, 112, 3), np.uint8),
        mel=np.zeros((128, 200), np.float16),
        fps=2.0,
        places=places,
        which=which or [0] * FRAMES,
    )


@pytest.mark.parametrize(
    ("way", "expected"),
    [((0.3, 0.05), "right"), ((-0.3, 0), "left"), ((0, 0.3), "down"), ((0.1, -0.3), "up"),
     ((0.01, 0.01), None)],
)  # fmt: skip
def test_direction(way: tuple[float, float], expected: str | None) -> None:
    assert direction((0.5, 0.5), (0.5 + way[0], 0.5 + way[1])) == expected


def test_small_movements_are_not_taught() -> None:
    steps = [0.06 * number for number in range(FRAMES)]
    assert {second - first for first, second in clear_changes(sample(steps))} == {2, 3, 4, 5, 6}
    assert len(clear_changes(sample([0.5] * FRAMES))) == (FRAMES - 2) * (FRAMES - 3) // 2
    cut = sample([0.5, 0.55] * 4, which=[0] * 4 + [1] * 4)
    assert {*clear_changes(cut)} >= {(0, 4), (2, 6)}
    # Frame 3 is followed by another scene.
    assert not [pair for pair in clear_changes(cut) if 3 in pair]


@pytest.mark.usefixtures("one_thread")
def test_every_kind_of_request_is_taught() -> None:
    torch.manual_seed(0)
    rng = random.Random(3)
    lessons = Lessons(Thinker(), Vocabulary(make_tokenizer()), rng)
    lessons.frozen = True
    clips: dict[tuple[int, ...], list[Sample]] = {}
    sound = extractor()
    for _ in range(8):
        made = make_sample(rng, "train", sound)
        clips.setdefault(made.frames.shape, []).append(made)
    some = max(clips.values(), key=len)
    losses = [lessons.clips(some[:2]), lessons.frames(some), lessons.changes(some)]
    losses += [lessons.sounds([s for s in some if len(s.scenes) == 1]), lessons.text(6)]
    assert all(bool(torch.isfinite(loss)) for loss in losses)
    losses[0].backward()
    assert lessons.model.lm_head.weight.grad is not None
    assert all(parameter.grad is None for parameter in lessons.model.visual.parameters())
    with torch.no_grad():
        for _ in range(10):  # what is drawn more rarely
            lessons.clips(some[:2])
            lessons.text(4)
    expected = {"omni", "structured", "clip", "seen", "frame", "differential", "heard"}
    expected |= {f"ask {kind}" for kind in questions.ASKED} | {"t2v", "i2v", "long"}
    assert expected == {name for name, values in lessons.meters.items() if values}
