"""The tiny model's configuration, tokenizer and processor, and its folder in the HF layout."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from tinyworld.network import THETA
from tinyworld.tasks import corpus

VOCABULARY = 690  # learned, before special tokens
# Punctuation goes with the word behind it: JSON takes half the tokens that it would otherwise.
WORD = r"[^\p{L}\p{N}]*\p{L}+|[^\p{L}\p{N}]*\p{N}|[^\p{L}\p{N}]+"
SPECIAL = {
    "pad_token": "<|endoftext|>",
    "im_start_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "audio_token": "<|AUDIO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "vision_pad_token": "<|vision_pad|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
}
PADDED_VOCABULARY = 704
PIXELS = {"shortest_edge": 6272, "longest_edge": 12800}
HIDDEN = 192
LONGEST_SOUND = 30  # seconds; the feature extractor pads to it

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}
{%- else %}{% for part in message.content %}
{%- if part.type == 'video' or part.type == 'video_url' %}<|vision_bos|><|VIDEO|><|vision_eos|>
{%- elif part.type == 'image' or part.type == 'image_url' %}<|vision_bos|><|IMAGE|><|vision_eos|>
{%- elif part.type in ('audio', 'audio_url', 'input_audio') %}<|audio_bos|><|AUDIO|><|audio_eos|>
{%- elif part.type == 'text' %}{{ part.text }}
{%- endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor -%}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of the tiny world's language, the same at every call."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(corpus(4000, seed=0), trainer)
    backend.add_special_tokens(list(SPECIAL.values()))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=SPECIAL["pad_token"],
        eos_token=SPECIAL["eos_token"],
        extra_special_tokens={
            name: token for name, token in SPECIAL.items() if name not in ("pad_token", "eos_token")
        },
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniProcessor:
    """The processor of Qwen2.5-Omni for small pictures and short sounds."""
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(size=PIXELS),
        video_processor=Qwen2VLVideoProcessor(size=PIXELS),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=128,
            chunk_length=LONGEST_SOUND,
            return_attention_mask=True,
            padding_side="right",
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def make_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniConfig:
    """The configuration; ids of special tokens are the tokenizer's."""

    def token(name: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(SPECIAL[name]))

    # Most of a head's dimensions go to the width axis: on a grid of four tokens the slower
    # frequencies, where the standard split puts that axis, hardly turn at all.
    rope = {"rope_type": "default", "type": "default", "mrope_section": [2, 2, 12]}
    text = {
        "vocab_size": PADDED_VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "rope_theta": THETA,
        "rope_parameters": {**rope, "rope_theta": THETA},
        "tie_word_embeddings": False,
        "pad_token_id": token("pad_token"),
        "eos_token_id": token("eos_token"),
        "bos_token_id": None,
    }
    vision = {
        "depth": 3,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_heads": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [0, 1, 2],
        "out_hidden_size": HIDDEN,
        "tokens_per_second": 25,
    }
    sound = {
        "num_mel_bins": 128,
        "encoder_layers": 2,
        "d_model": 128,
        "encoder_ffn_dim": 384,
        "encoder_attention_heads": 4,
        "n_window": 100,
        "max_source_positions": 1500,
        "output_dim": HIDDEN,
    }
    thinker = {
        "text_config": text,
        "vision_config": vision,
        "audio_config": sound,
        "audio_token_index": token("audio_token"),
        "image_token_index": token("image_token"),
        "video_token_index": token("video_token"),
        "audio_start_token_id": token("audio_bos_token"),
        "audio_end_token_id": token("audio_eos_token"),
        "vision_start_token_id": token("vision_bos_token"),
        "vision_end_token_id": token("vision_eos_token"),
        "user_token_id": tokenizer.encode("user")[0],
        "position_id_per_seconds": 25,
        "seconds_per_chunk": 2,
        "pad_token_id": token("pad_token"),
    }
    return Qwen2_5OmniConfig(
        thinker_config=thinker,
        enable_audio_output=False,
        architectures=["Qwen2_5OmniForConditionalGeneration"],
    )


def _written_config(config: Qwen2_5OmniConfig) -> dict[str, Any]:
    """The thinker's part of the configuration: there are no talker and no vocoder here."""
    written: dict[str, Any] = config.to_dict()
    for part in ("talker_config", "token2wav_config"):
        written.pop(part, None)
    written["torch_dtype"] = written["thinker_config"]["torch_dtype"] = "bfloat16"
    return written


def export(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a model folder that transformers and vLLM load, file by file into place.

    A reader that opens the folder meanwhile finds complete files only.

    Args:
        folder: where the model goes.
        weights: the thinker's parameters by their names in transformers, without `thinker.`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as name:
        fresh = Path(name)
        make_processor(tokenizer).save_pretrained(fresh)
        config = _written_config(make_config(tokenizer))
        (fresh / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        stop = tokenizer.eos_token_id
        generation = {"eos_token_id": stop, "pad_token_id": tokenizer.pad_token_id}
        (fresh / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
        half = {
            f"thinker.{name}": value.detach().to(torch.bfloat16).contiguous()
            for name, value in weights.items()
        }
        save_file(half, fresh / "model.safetensors", metadata={"format": "pt"})
        for path in sorted(fresh.iterdir()):
            shutil.copymode(folder, path) if path.is_dir() else path.chmod(0o644)
            path.replace(folder / path.name)


def random_export(folder: Path) -> None:
    """A folder with random weights: it loads everywhere and says nothing of sense."""
    from tinyworld.network import Thinker

    torch.manual_seed(0)
    export(folder, Thinker().state_dict())
