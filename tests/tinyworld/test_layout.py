"""The layout that training uses is the one of vLLM's processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tinyworld import tasks
from tinyworld.data import Row, Vocabulary, collate, sound_tokens, video_part
from tinyworld.model import make_config, make_tokenizer
from tinyworld.network import Thinker


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return Vocabulary(make_tokenizer())


@pytest.mark.parametrize(
    ("seconds", "columns"), [(0.57, 200), (1.0, 413), (1.69, 597), (0.55, 600), (1.2, 90)]
)
def test_interleaving_is_the_one_of_vllm(words: Vocabulary, seconds: float, columns: int) -> None:
    omni = pytest.importorskip("vllm.model_executor.models.qwen2_5_omni_thinker")
    config = make_config(words.tokenizer).thinker_config
    sound = sound_tokens(columns)
    ids, positions = video_part(words, grid=(4, 3, 5), seconds=seconds, sound=sound)

    expected = omni.Qwen2_5OmniThinkerMultiModalProcessor.omni_get_updates_use_audio_in_video(
        config, sound, [4, 6, 10], seconds
    )
    start = len(words.opening) + 1
    assert ids[start:-1] == expected

    model = omni.Qwen2_5OmniThinkerForConditionalGeneration
    holder = type("Holder", (), {"config": config})()
    holder._compute_audio_token_count = lambda columns: model._compute_audio_token_count(
        holder, columns
    )
    data = {
        "grid_t": 4, "grid_h": 3, "grid_w": 5, "t_factor": seconds * 25,
        "audio_feature_length": columns,
    }  # fmt: skip
    places, count = model._compute_interleaved_positions(holder, start, data)
    np.testing.assert_array_equal(positions[:, start : start + count], places)
    np.testing.assert_array_equal(positions[0, start + count :], places.max() + 1 + np.arange(3))


def test_questions_of_a_row_do_not_see_one_another(words: Vocabulary) -> None:
    ids, positions = video_part(words, grid=(4, 2, 2), seconds=0.6, sound=None)
    first = tasks.Pair("omni", "Describe the clip.", "A large red circle.")
    second = tasks.Pair("frame", "Describe the picture.", "A small blue star.")
    both = collate(words, [Row(ids, positions, [first, second])])
    alone = collate(words, [Row(ids, positions, [second])])
    torch.manual_seed(0)
    model = Thinker().eval()

    def states(batch, span):  # type: ignore[no-untyped-def]
        x = model.model.embed_tokens(batch.ids)
        return model.model(x, batch.positions, batch.mask)[0, slice(*span)]

    with torch.no_grad():
        torch.testing.assert_close(
            states(both, both.spans[0][1]), states(alone, alone.spans[0][0]), atol=1e-4, rtol=1e-4
        )


def test_answers_are_the_targets(words: Vocabulary) -> None:
    pair = tasks.Pair("omni", "Describe the clip.", "A large red circle.")
    ids, positions = video_part(words, grid=(4, 2, 2), seconds=0.6, sound=7)
    batch = collate(words, [Row(ids, positions, [pair])])
    first, end = batch.spans[0][0]
    told = batch.targets[0, first:end].tolist()
    assert told[-1] == words.stop
    assert words.tokenizer.decode(told[:-1]) == pair.answer
    assert batch.weights.sum() == end - first
