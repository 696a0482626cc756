"""Batches: token ids, positions and features as vLLM lays them out for Qwen2.5-Omni."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tinyworld.model import SPECIAL
from tinyworld.network import CHUNK, Thinker
from tinyworld.tasks import Pair
from tinyworld.world import CAMERAS, POSITIONS

POSITIONS_PER_SECOND = 25
HARD_WEIGHT = 4.0  # of a word for a place or the camera: few of an answer's tokens, slow to learn
CHUNK_POSITIONS = 50  # picture and sound alternate every two seconds
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])
IntArray = NDArray[np.int64]


class Vocabulary:
    """The tokenizer, and the ids that a layout needs."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        ids = {name: int(tokenizer.convert_tokens_to_ids(token)) for name, token in SPECIAL.items()}
        self.video, self.image, self.audio = (
            ids["video_token"], ids["image_token"], ids["audio_token"],
        )  # fmt: skip
        self.audio_bos, self.audio_eos = ids["audio_bos_token"], ids["audio_eos_token"]
        self.vision_bos, self.vision_eos = ids["vision_bos_token"], ids["vision_eos_token"]
        self.stop, self.pad = ids["eos_token"], ids["pad_token"]
        self.opening = self.encode("<|im_start|>user\n")
        hard = (*POSITIONS, *(word for camera in CAMERAS for word in camera.split()))
        self.hard = {
            index
            for token, index in tokenizer.get_vocab().items()
            if any(token.endswith(word) for word in hard)
        }

    def encode(self, text: str) -> list[int]:
        """Ids of a text; special tokens in it count as such."""
        return list(self.tokenizer.encode(text))

    def turn(self, prompt: str) -> list[int]:
        """What follows the media: the prompt, and the opening of the answer."""
        return self.encode(f"{prompt}<|im_end|>\n<|im_start|>assistant\n")


@dataclass(slots=True)
class Row:
    """One sequence: media and then several questions about them, which do not see one another.

    One row with three questions costs little more than one with one: the media are most of it.

    Attributes:
        ids, positions: of the media part, (T,) and (3, T); `positions` may be empty without media.
        pairs: the questions.
    """

    ids: list[int]
    positions: IntArray
    pairs: list[Pair]


def _text_positions(start: int, count: int) -> IntArray:
    return np.broadcast_to(np.arange(count) + start, (3, count)).astype(np.int64)


def _with_text(before: int, media: IntArray, total: int) -> IntArray:
    """Positions of `total` tokens: text, then the media's, then text again."""
    after = total - before - media.shape[1]
    start = int(media.max()) + 1
    return np.concatenate(
        [_text_positions(0, before), media, _text_positions(start, after)], axis=1
    )


def _grid(times: Sequence[int], height: int, width: int) -> IntArray:
    """Positions of pictures' tokens: time, row, column."""
    t, h, w = np.meshgrid(times, range(height), range(width), indexing="ij")
    return np.stack([t.ravel(), h.ravel(), w.ravel()]).astype(np.int64)


def video_part(
    words: Vocabulary, *, grid: tuple[int, int, int], seconds: float, sound: int | None
) -> tuple[list[int], IntArray]:
    """Ids and positions of a video, with its sound interleaved if there is any.

    Args:
        words: the vocabulary.
        grid: temporal patches, and rows and columns of tokens.
        seconds: from one temporal patch to the next.
        sound: tokens of sound, None for a video without a track.
    """
    count, height, width = grid
    area = height * width
    times = [int(index * (seconds * POSITIONS_PER_SECOND)) for index in range(count)]
    opening = [*words.opening, words.vision_bos]
    start = len(opening)
    if sound is None:
        ids = [*opening, *[words.video] * (count * area), words.vision_eos]
        return ids, _with_text(start, _grid(times, height, width) + start, len(ids))
    body: list[int] = []
    places: list[IntArray] = []
    added = 0
    for chunk in range(times[-1] // CHUNK_POSITIONS + 1):
        inside = [time for time in times if time // CHUNK_POSITIONS == chunk]
        if not inside:
            continue
        take = min(CHUNK_POSITIONS, sound - added)
        body += [words.video] * (len(inside) * area) + [words.audio] * take
        places += [_grid(inside, height, width), _text_positions(added, take)]
        added += take
    body += [words.audio] * (sound - added)
    places.append(_text_positions(added, sound - added))
    # vLLM hands these positions out from the opening of the sound on, one token early.
    ids = [*opening, words.audio_bos, *body, words.audio_eos, words.vision_eos]
    return ids, _with_text(start, np.concatenate(places, axis=1) + start, len(ids))


def image_part(words: Vocabulary, height: int, width: int) -> tuple[list[int], IntArray]:
    """Ids and positions of one picture of so many rows and columns of tokens."""
    opening = [*words.opening, words.vision_bos]
    ids = [*opening, *[words.image] * (height * width), words.vision_eos]
    return ids, _with_text(len(opening), _grid([0], height, width) + len(opening), len(ids))


def sound_part(words: Vocabulary, count: int) -> tuple[list[int], IntArray]:
    """Ids and positions of a sound without pictures."""
    ids = [*words.opening, words.audio_bos, *[words.audio] * count, words.audio_eos]
    return ids, _text_positions(0, len(ids))


def text_part() -> tuple[list[int], IntArray]:
    """No media: the whole turn is in the question, since text merges across its opening."""
    return [], _text_positions(0, 0)


def sound_tokens(columns: int) -> int:
    """Tokens for so many mel columns."""
    return ((columns - 1) // 2 + 1) // 2


@dataclass(slots=True)
class Batch:
    """Rows padded to one length; `weights` is above 0 where `targets` holds an answer's token."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    targets: Tensor
    weights: Tensor
    spans: list[list[tuple[int, int]]]  # per row and question: where its answer is predicted


def collate(words: Vocabulary, rows: Sequence[Row]) -> Batch:
    """Lay rows out side by side."""
    built = [_row(words, row) for row in rows]
    length = -(-max(len(ids) for ids, *_ in built) // 8) * 8
    size = len(rows)
    ids = np.full((size, length), words.pad, np.int64)
    positions = np.zeros((size, 3, length), np.int64)
    segments = np.full((size, length), -1, np.int64)
    targets = np.zeros((size, length), np.int64)
    weights = np.zeros((size, length), np.float32)
    for index, (row_ids, row_positions, row_segments, answers, _) in enumerate(built):
        count = len(row_ids)
        ids[index, :count] = row_ids
        positions[index, :, :count] = row_positions
        segments[index, :count] = row_segments
        for at, token in answers:
            targets[index, at] = token
            weights[index, at] = HARD_WEIGHT if token in words.hard else 1
    order = np.arange(length)
    seen = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    mask = seen & (order[None, :, None] >= order[None, None, :])
    return Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        mask=torch.from_numpy(mask),
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
        spans=[row_spans for *_, row_spans in built],
    )


_Built = tuple[list[int], IntArray, list[int], list[tuple[int, int]], list[tuple[int, int]]]


def _row(words: Vocabulary, row: Row) -> _Built:
    """Ids, positions, segments (0 for media), (place, token) to predict, and spans of answers."""
    ids, positions = list(row.ids), [row.positions]
    segments = [0] * len(ids)
    start = int(row.positions.max()) + 1 if ids else 0
    answers: list[tuple[int, int]] = []
    spans: list[tuple[int, int]] = []
    for number, pair in enumerate(row.pairs, start=1):
        asked = words.turn(pair.prompt if row.ids else f"<|im_start|>user\n{pair.prompt}")
        told = [*words.encode(pair.answer), words.stop]
        first = len(ids) + len(asked) - 1  # the last token of the turn predicts the answer's first
        spans.append((first, first + len(told)))
        answers += [(first + index, token) for index, token in enumerate(told)]
        part = asked + told[:-1]
        ids += part
        positions.append(_text_positions(start, len(part)))
        segments += [number] * len(part)
    return ids, np.concatenate(positions, axis=1), segments, answers, spans


def patches(frames: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Pictures float (N, 2, H, W, 3), 0 to 255, as the processor's patches (N, P, 1176)."""
    x = (frames / 255 - MEAN) / DEVIATION
    count, _, high, wide, _ = x.shape
    height, width = high // 14, wide // 14
    x = x.view(count, 2, height // 2, 2, 14, width // 2, 2, 14, 3)
    x = x.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return x.reshape(count, height * width, 1176), (height, width)


def chunks(mels: Sequence[NDArray[np.float16]]) -> tuple[Tensor, Tensor]:
    """Mel columns of several sounds as zero-padded chunks of two seconds, and their lengths."""
    parts, lengths = [], []
    for mel in mels:
        whole = torch.from_numpy(mel.astype(np.float32))
        for part in whole.split(CHUNK, dim=1):
            lengths.append(part.shape[1])
            parts.append(F.pad(part, (0, CHUNK - part.shape[1])))
    return torch.stack(parts), torch.tensor(lengths)


def hidden_states(
    model: Thinker, words: Vocabulary, batch: Batch, seen: Tensor | None, heard: Tensor | None
) -> Tensor:
    """The language model's output (B, T, hidden), with features (all, hidden) put in."""
    x = model.model.embed_tokens(batch.ids)
    if seen is not None:
        x[(batch.ids == words.video) | (batch.ids == words.image)] = seen
    if heard is not None:
        x[batch.ids == words.audio] = heard
    out: Tensor = model.model(x, batch.positions, batch.mask)
    return out
