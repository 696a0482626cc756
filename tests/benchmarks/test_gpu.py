"""The benchmark of a GPU, at dimensions for a CPU: everything in it but the GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.checkpoints import CHECKPOINTS
from tests.support.jobs import ROOT

CLIPS = 6


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["tiny-qwen3-vl", "tiny-omni"])
def test_it_measures_the_job_beside_its_engine(model: str, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--model", model, "--clips", str(CLIPS)),
        *("--max-num-seqs", "4", "--folder", str(tmp_path / "clips")),
        *("--set", "engine.kv_cache_bytes=268435456"),
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["clips"] == CLIPS == len(list((tmp_path / "clips").iterdir()))
    for name in ("prepare", "engine", "engine_with_prepare", "job"):
        assert told[f"{name}_per_sec"] > 0
    assert told["captions_per_gpu_hour"] == pytest.approx(3600 * told["job_per_sec"])
    assert told["gpu"] is None and told["job_gpu_busy_fraction"] is None


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("model", "architecture", "parameters"),
    [
        ("qwen3-vl-8b", "Qwen3VLForConditionalGeneration", 8_767_123_696),
        ("qwen2.5-omni-3b", "Qwen2_5OmniThinkerForConditionalGeneration", 4_703_464_448),
    ],
)
def test_checkpoints_are_as_large_as_the_published_ones(
    model: str, architecture: str, parameters: int, tmp_path: Path
) -> None:
    import torch
    import transformers

    CHECKPOINTS[model](tmp_path / "model")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "model")
    with torch.device("meta"):
        built = getattr(transformers, architecture)(getattr(config, "thinker_config", config))
    assert sum(each.numel() for each in built.parameters()) == parameters
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    prompt = "<|im_start|>user\nxbaaa<|im_end|>"
    assert tokenizer.decode(tokenizer(prompt).input_ids) == prompt
    assert tokenizer.decode([151_935]).strip() == "xbfbjdf"
