"""The plan of a reduce: neighbours, in order, nothing lost, nothing too large."""

import random

import pytest

from rayjob.recipes.longform.reducing import TimedText, pack, stamp


def texts(*tokens: int) -> list[TimedText]:
    return [
        TimedText(start_sec=index * 5, end_sec=index * 5 + 10, text=f"t{index}", tokens=size)
        for index, size in enumerate(tokens)
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (5, 15, "[00:05-00:15]"),
        (5, None, "[00:05]"),
        (59.6, 70.2, "[01:00-01:10]"),
        (3595, 3605, "[59:55-1:00:05]"),
        (7325, None, "[2:02:05]"),
    ],
)
def test_stamp(start: float, end: float | None, expected: str) -> None:
    assert stamp(start, end) == expected


def test_stamped() -> None:
    (text,) = texts(3)
    assert text.stamped() == "[00:00-00:10] t0"


@pytest.mark.parametrize("seed", range(40))
def test_groups(seed: int) -> None:
    rng = random.Random(seed)
    budget = rng.choice([64, 400, 30_000])
    given = texts(*(rng.randint(1, budget) for _ in range(rng.randint(1, 300))))
    if seed % 2:  # many small ones
        given = texts(*(rng.randint(1, budget // 10) for _ in range(300)))
    groups = pack(given, budget=budget)
    assert [text for group in groups for text in group] == given
    sizes = [sum(text.tokens for text in group) for group in groups]
    assert max(sizes) <= budget
    least = -(-sum(sizes) // budget)
    assert least <= len(groups) <= 2 * least + 1
    if seed % 2 and len(sizes) > 1:
        assert min(sizes) > 0.6 * max(sizes), "one part is told far shorter than the others"


def test_what_fits_is_one_group() -> None:
    assert len(pack(texts(30, 30, 40), budget=100)) == 1
    assert pack([], budget=100) == []


def test_no_group_holds_a_text_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="101 tokens"):
        pack(texts(10, 101), budget=100)
