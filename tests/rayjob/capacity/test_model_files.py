"""Models that are not there, and models in a storage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.engine.loading import EngineSettings, load
from rayjob.capacity.model_files import asking_hub, check_model, model_revision
from rayjob.capacity.model_shapes import load_shape, model_config
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig
from schemas.errors import ModelError
from schemas.media import StorageOptions
from tests.support.engines import machines, omni_engine
from tests.support.jobs import ROOT
from tests.support.services import put_objects
from tinyworld.s3 import S3Gateway

STORAGE = StorageOptions()
TINY = ROOT / "models/tiny-omni"


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


@pytest.fixture
def stored(gateway: S3Gateway, gateway_bucket: str) -> str:
    """The embedded model in a bucket."""
    objects = {f"models/tiny/{path.name}": path.read_bytes() for path in TINY.iterdir()}
    put_objects(gateway.client(), gateway_bucket, objects)
    return f"s3://{gateway_bucket}/models/tiny"


def test_models_that_are_not_there(tmp_path: Path, model: str) -> None:
    for name, message in (
        (str(tmp_path), "no checkpoint"),
        ("./no/such/folder", "no folder"),
        ("nobody/nothing", "neither a folder nor available from the hub"),
    ):
        with pytest.raises(ModelError, match=message):
            check_model(name, EngineConfig(), STORAGE)
    (Path(model) / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        check_model(model, EngineConfig(), STORAGE)
    check_model(model, EngineConfig(load_format="dummy"), STORAGE)


def test_revision_of_a_folder_follows_its_files(model: str) -> None:
    before = model_revision(model, None, STORAGE)
    assert before is not None and len(before) == 16
    assert model_revision(model, "r2", STORAGE) == "r2"
    moved = Path(model).rename(Path(model).with_name("moved"))
    assert model_revision(str(moved), None, STORAGE) == before
    weights = moved / "model.safetensors"
    seen = {before}
    # Trained further, with the sizes as they were; and another file.
    whole = random.Random(1).randbytes(1 << 20)
    trained = whole[: 1 << 19] + random.Random(2).randbytes(1 << 18) + whole[-(1 << 18) :]
    for content in (whole, trained, b"other weights"):
        weights.write_bytes(content)
        seen.add(model_revision(str(moved), None, STORAGE))
    assert len(seen) == 4


def test_a_model_in_a_storage_is_of_one_version(
    gateway: S3Gateway, gateway_bucket: str, stored: str
) -> None:
    """Whoever replaces it between two looks at it is heard of."""
    check_model(stored, EngineConfig(), STORAGE)
    key = stored.removeprefix(f"s3://{gateway_bucket}/") + "/config.json"
    put_objects(gateway.client(), gateway_bucket, {key: b"{}  "})
    with pytest.raises(ModelError, match="replaced"):
        model_revision(stored, None, STORAGE)


def test_a_model_in_a_storage_is_the_one_in_the_folder(stored: str) -> None:
    check_model(stored, EngineConfig(), STORAGE)
    here = str(TINY)
    assert model_revision(stored, None, STORAGE) == model_revision(here, None, STORAGE)
    assert model_config(stored, storage=STORAGE) == model_config(here)
    assert vars(load_shape(stored)) | {"name": here} == vars(load_shape(here))


def test_engines_copy_it_and_vllms_streamer_does_not(stored: str) -> None:
    pool = engine_pool(omni_engine(EngineConfig(model=stored)), machines())
    assert pool.settings.stored is not None
    assert pool.settings.stored.address == stored
    assert pool.settings.environment["HF_HUB_OFFLINE"] == "1"
    streaming = EngineConfig(model=stored, load_format="runai_streamer")
    spec = omni_engine(streaming).model_copy(
        update={"storage": StorageOptions(endpoint_url="http://s3.internal", region="eu-1")}
    )
    pool = engine_pool(spec, machines())
    assert pool.settings.stored is None
    assert pool.settings.local_model() == stored
    assert pool.settings.environment["AWS_ENDPOINT_URL"] == "http://s3.internal"
    assert pool.settings.environment["AWS_REGION"] == "eu-1"


def test_a_streamer_that_is_not_installed() -> None:
    streaming = EngineConfig(model="s3://bucket/model", load_format="runai_streamer")
    settings = engine_pool(omni_engine(streaming), machines()).settings
    assert isinstance(settings, EngineSettings)
    with pytest.raises(ModelError, match="runai-model-streamer is not installed on the node"):
        load(settings)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is nothing below"),
        ({"model.safetensors": b"w"}, r"no config\.json"),
        ({"config.json": b"{}"}, "has no weights"),
        ({"config.json": b"{}", "original/model.safetensors.index.json": b""}, "has no weights"),
    ],
)
def test_folders_of_a_storage_that_hold_no_model(
    files: dict[str, bytes], message: str, gateway: S3Gateway, gateway_bucket: str
) -> None:
    objects = {f"m/{name}": body for name, body in files.items()}
    put_objects(gateway.client(), gateway_bucket, objects)
    with pytest.raises(ModelError, match=message):
        check_model(f"s3://{gateway_bucket}/m", EngineConfig(), STORAGE)


def test_what_the_hub_says_is_told_without_the_token() -> None:
    with (
        pytest.raises(ModelError, match=r"Bearer hf_\*\*\*.* And so on") as caught,
        asking_hub("a/b", advice="And so on"),
    ):
        raise ValueError("Illegal header value b'Bearer hf_abcDEF0123456789'")
    assert "0123456789" not in repr(caught.getrepr(chain=True))
