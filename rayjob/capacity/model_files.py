"""Where a model's files are: in a folder, in a storage, on the hub, or behind an endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

from actors.engine.loading import without_token
from actors.storage.folder import FolderFile, StoredFolder
from actors.storage.uris import local_path
from rayjob.capacity.elsewhere import check_endpoint, service_of
from schemas.config import EngineConfig
from schemas.errors import ModelError, OpenError
from schemas.media import StorageOptions

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
"""Ends of the names of files that are not needed before an engine starts."""

_LOADED = (".safetensors", ".bin")

_SAMPLES = 32
"""Of a file of weights. Where a fifth of the tensors was trained, one file in some 1,200 would show
nothing of it."""

_SAMPLE_BYTES = 4096

_SAMPLES_AT_ONCE = 16


def is_stored(model: str) -> bool:
    """Whether a model is named by the address of a storage, such as s3://bucket/folder."""
    return local_path(model) is None


@lru_cache(maxsize=8)
def stored_model(model: str, storage: StorageOptions) -> StoredFolder:
    """A model's folder in a storage, as this process first saw it: what is checked, sized and
    copied is of one version.

    Raises:
        ModelError: it cannot be listed.
    """
    try:
        return StoredFolder.listed(model, storage)
    except OpenError as error:
        raise ModelError(f"the model {model} cannot be listed: {error}") from error


def check_model(model: str, config: EngineConfig, storage: StorageOptions) -> None:
    """Check that a model exists before any actor starts.

    Raises:
        ModelError: it does not.
        ConfigError: it is elsewhere, and cannot be asked there.
    """
    if config.kind == "openai":
        check_endpoint(service_of(config, model=model, connections=1))
        return
    hint = (
        "Pass --model with a checkpoint folder, a folder of a storage (s3://...) or a hub name; "
        f"download one with 'hf download {model} --local-dir DIR'. The small embedded model runs "
        "with --config configs/demo.yaml."
    )
    folder = Path(model)
    if is_stored(model):
        names: Iterable[str] = (file.name for file in stored_model(model, storage).files)
    elif folder.is_dir():
        names = (path.name for path in folder.iterdir())
    elif model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(f"there is no folder {model}. {hint}")
    else:
        with asking_hub(model, advice=hint):
            hub_config(model, revision=config.revision)
        return
    names = set(names)
    if "config.json" not in names:
        raise ModelError(f"the folder {model} holds no checkpoint (no config.json). {hint}")
    if config.load_format != "dummy" and not any(name.endswith(_LOADED) for name in names):
        raise ModelError(f"the checkpoint {model} has no weights (*.safetensors). {hint}")


def model_revision(model: str, revision: str | None, storage: StorageOptions) -> str | None:
    """What identifies the weights in every row, wherever they lie.

    The configured revision; for a folder, here or in a storage, 16 hex digits of the SHA-256 of its
    configuration, the names and sizes of its weights, and samples of what is in them: a model that
    is trained further keeps its sizes.

    Raises:
        ModelError: the storage cannot be read.
    """
    folder = Path(model)
    if revision is not None or not (is_stored(model) or folder.is_dir()):
        return revision
    if is_stored(model):
        stored = stored_model(model, storage)
        config = read_stored(stored, "config.json")
        files = [file for file in stored.only(*_LOADED).files if "/" not in file.name]
        weights = [(file.name, file.size, partial(_stored_part, stored, file)) for file in files]
    else:
        config = (folder / "config.json").read_bytes()
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(_LOADED))
        weights = [(path.name, path.stat().st_size, partial(_part, path)) for path in paths]
    digest = hashlib.sha256(config)
    with ThreadPoolExecutor(_SAMPLES_AT_ONCE) as pool:
        for name, size, part in weights:
            digest.update(f"{name}:{size}".encode())
            starts = sorted({size * number // _SAMPLES for number in range(_SAMPLES)})
            for sample in pool.map(part, starts):
                digest.update(sample)
    return digest.hexdigest()[:16]


def _part(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(_SAMPLE_BYTES)


def _stored_part(stored: StoredFolder, file: FolderFile, start: int) -> bytes:
    stop = min(file.size, start + _SAMPLE_BYTES)
    try:
        return stored.read(file, start, stop)
    except OpenError as error:
        raise ModelError(f"{file.name} of {stored.address} cannot be read: {error}") from error


def read_stored(stored: StoredFolder, name: str) -> bytes:
    """A small file of a model in a storage; ModelError where it cannot be read."""
    for file in stored.files:
        if file.name == name:
            try:
                return stored.read(file)
            except OpenError as error:
                raise ModelError(f"{name} of {stored.address} cannot be read: {error}") from error
    raise ModelError(f"the folder {stored.address} holds no checkpoint (no {name})")


def hub_config(model: str, *, revision: str | None) -> Path:
    """The ``config.json`` of a model on the hub; for use in :func:`asking_hub`."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(model, "config.json", revision=revision, etag_timeout=10))


@contextmanager
def asking_hub(model: str, *, advice: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into a ModelError that ends with some advice, and tells
    no token.
    """
    try:
        yield
    except Exception as error:
        # It has many kinds for "not there", "not allowed" and "offline".
        reason = without_token((str(error).strip() or repr(error)).splitlines()[0])
        raise ModelError(
            f"the model {model} is neither a folder nor available from the hub: {reason} {advice}"
        ) from None
