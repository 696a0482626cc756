"""The network that is trained computes what transformers' model computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tinyworld.model import make_config, make_tokenizer
from tinyworld.network import CHUNK, Thinker


@pytest.fixture(scope="module")
def models() -> tuple[Thinker, torch.nn.Module]:
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Reference

    torch.manual_seed(0)
    reference = Reference(make_config(make_tokenizer()).thinker_config).eval()
    mine = Thinker().eval()
    mine.load_state_dict(reference.state_dict(), strict=True)
    return mine, reference


def test_vision(models: tuple[Thinker, torch.nn.Module]) -> None:
    mine, reference = models
    patches = torch.randn(4 * 60, 1176)
    with torch.no_grad():
        expected = reference.visual(patches, grid_thw=torch.tensor([[4, 6, 10]])).pooler_output
        found = mine.visual(patches.view(4, 60, 1176), (6, 10)).flatten(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_sound(models: tuple[Thinker, torch.nn.Module]) -> None:
    mine, reference = models
    mels = [torch.randn(128, length) for length in (513, 200, 330)]
    parts = [part for mel in mels for part in mel.split(CHUNK, dim=1)]
    padded = torch.stack([F.pad(part, (0, CHUNK - part.shape[1])) for part in parts])
    with torch.no_grad():
        expected = reference.audio_tower(
            torch.cat(mels, 1), feature_lens=torch.tensor([513, 200, 330])
        ).last_hidden_state
        found = mine.audio_tower(padded, torch.tensor([part.shape[1] for part in parts]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_text(models: tuple[Thinker, torch.nn.Module]) -> None:
    mine, reference = models
    x, positions = torch.randn(2, 50, 192), torch.randint(0, 60, (2, 3, 50))
    mask = torch.ones(50, 50).tril().bool()[None].expand(2, 50, 50)
    with torch.no_grad():
        expected = reference.model(
            inputs_embeds=x, position_ids=positions.transpose(0, 1)
        ).last_hidden_state
        found = mine.model(x, positions, mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
