"""What a captioning's settings are, and what becomes of results made with others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from rayjob.output.shards import ShardSink
from rayjob.run import job
from rayjob.run.prepare import Prepared, plan, prepare
from rayjob.settings.loading import read_config
from schemas.config import FuseConfig, JobConfig, ShardConfig
from schemas.errors import ConfigError
from schemas.tables import results_table
from tests.support.jobs import ROOT
from tests.support.outputs import NO_LOCK, caption, captioned, failed, together


def config_of(folder: Path, recipe: str = "omni", **flags: Any) -> JobConfig | FuseConfig:
    (folder / "in").mkdir(parents=True, exist_ok=True)
    for name in ("a.mp4", "b.mp4"):
        (folder / "in" / name).touch()
    kind: type[Any] = FuseConfig if recipe in ("t2v", "long") else JobConfig
    file = "demo.yaml" if recipe == "omni" else f"demo-{recipe}.yaml"
    given = {
        # What a fusion reads is looked at before its settings are, where it is local.
        "input": "s3://anything/at-all" if kind is FuseConfig else str(folder / "in"),
        "output": str(folder / "out"),
        "recipe.prompt_file": str(ROOT / "tinyworld/prompts" / f"{recipe.rstrip('s')}.txt"),
        "engine.model": str(ROOT / "models/tiny-omni"),
    }
    config: JobConfig | FuseConfig = read_config(
        kind, str(ROOT / "configs" / file), flags=given | flags
    )
    return config


def prepared(folder: Path, recipe: str = "omni", **flags: Any) -> Prepared:
    return prepare(config_of(folder, recipe, **flags))


def hold(prepared: Prepared, *results: pa.Table, settings: str | None) -> None:
    """Results in the output, as a run with these settings leaves them."""
    sink = ShardSink(
        prepared.store, tables=prepared.tables, run_id="before", config=ShardConfig(),
        lock=NO_LOCK, settings_hash=settings,
    )  # fmt: skip
    sink.write(together(results))
    sink.close()


def captioned_in(folder: Path) -> pa.Table:
    """The result of one of the inputs, where it lies."""
    return results_table("a.mp4", captions=[caption("a.mp4", uri=str(folder / "in/a.mp4"))])


def test_what_decides_a_caption_is_in_the_hash(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Tell what you see.")
    hashes = {
        prepared(tmp_path, **flags).settings_hash
        for flags in (
            {},
            {"recipe.prompt_file": str(prompt)},
            {"recipe.system_prompt": "Be short."},
            {"engine.revision": "v2"},
            {"recipe.plan": {"num_frames": 4, "audio_rate": 16_000}},
            {"recipe.plan": {"num_frames": 4}},
            {"recipe.generation.temperature": 0.7},
            {"recipe.max_attempts": 1},
            {"recipe.min_words": 5},
            {"engine.mm_processor_kwargs": {"max_pixels": 100}},
        )
    }
    assert len(hashes) == 10


def test_what_does_not_decide_a_caption_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = tmp_path / "copied.txt"
    prompt.write_text((ROOT / "tinyworld/prompts/omni.txt").read_text("utf-8"))
    monkeypatch.chdir(ROOT)
    hashes = {
        prepared(tmp_path, **flags).settings_hash
        for flags in (
            {},
            {"recipe.prompt_file": str(prompt)},
            {"engine.model": "models/tiny-omni/"},
            {"name": "another", "limit": 3, "run_id": "r9", "retry_failed": True},
            {"engine.engines": 2, "engine.max_num_seqs": 3, "engine.kv_cache_bytes": 1 << 24},
            {"shards.rows": 7, "decode.actors": 1},
        )
    }
    assert len(hashes) == 1


def test_options_count_by_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same, other = [tmp_path / name for name in ("same.txt", "other.txt")]
    same.write_text((ROOT / "tinyworld/prompts/frame.txt").read_text("utf-8"))
    other.write_text("What is this?")
    monkeypatch.chdir(ROOT)
    usual, *others = [
        prepared(tmp_path, "clips", **{f"recipe.options.{name}": value}).settings_hash
        for name, value in (
            ("window_sec", 4),
            ("frame_prompt_file", str(same)),
            ("frame_prompt_file", str(other)),
            ("stride_sec", 3.0),
        )
    ]
    assert [each == usual for each in others] == [True, False, False]


def test_the_text_of_a_file_of_words_counts(tmp_path: Path) -> None:
    words, hashes = tmp_path / "words.txt", []
    for text in ("gun\n", "gun\nknife\n"):
        words.write_text(text)
        flags = {"recipe.options.sensitive_words_file": str(words)}
        hashes.append(prepared(tmp_path, "long", **flags).settings_hash)
    assert hashes[0] != hashes[1]


def test_another_source_is_another_fusion(tmp_path: Path) -> None:
    usual = prepared(tmp_path, "t2v", source_recipe="structured")
    other = prepared(tmp_path, "t2v", source_recipe="structured-v2")
    assert prepared(tmp_path, "t2v").settings_hash == usual.settings_hash != other.settings_hash


@pytest.mark.parametrize("results", [captioned(["a.mp4"]), failed(["a.mp4"])])
def test_other_settings_are_refused_before_anything_starts(
    tmp_path: Path, results: pa.Table
) -> None:
    before = prepared(tmp_path)
    hold(before, results, settings="0123456789abcdef")
    config = config_of(tmp_path, run_id="r1")
    for attempt in (lambda: plan(config), lambda: job.run(config, console=Console(stderr=True))):
        with pytest.raises(
            ConfigError, match="under the name omni, the results of 1 video that"
        ) as caught:
            attempt()
        assert all(flag in str(caught.value) for flag in ("--name", "--replace", "--mixed"))
    assert not (tmp_path / "out/runs/r1").exists()

    def todo(**flags: Any) -> tuple[int, int]:
        planned = plan(config_of(tmp_path, **flags)).todo
        return planned.todo, planned.skipped

    assert todo(mixed=True) == (1, 1)
    assert todo(replace=True) == (2, 0)
    assert todo(name="omni-v2") == (2, 0)


def test_the_same_settings_go_on(tmp_path: Path) -> None:
    same = prepared(tmp_path)
    hold(same, captioned_in(tmp_path), settings=same.settings_hash)
    planned = plan(config_of(tmp_path))
    assert (planned.todo.todo, planned.todo.skipped, planned.todo.replaced) == (1, 1, 0)
    assert not list(same.notes(same.earlier(), planned.todo))


def test_a_model_is_what_its_folder_holds(tmp_path: Path) -> None:
    """A submitted job has its working directory in another place each time."""
    before = prepared(tmp_path).settings_hash
    moved = shutil.copytree(ROOT / "models/tiny-omni", tmp_path / "session-2/model")
    flags = {"engine.model": str(moved)}
    assert prepared(tmp_path, **flags).settings_hash == before
    with open(moved / "model.safetensors", "r+b") as weights:
        weights.write(bytes(100))
    assert prepared(tmp_path, **flags).settings_hash != before


def test_settings_that_were_not_recorded_are_noted(tmp_path: Path) -> None:
    before = prepared(tmp_path)
    hold(before, captioned_in(tmp_path), settings=None)
    planned = plan(config_of(tmp_path))
    assert (planned.todo.todo, planned.todo.skipped) == (1, 1)
    (note,) = before.notes(before.earlier(), planned.todo)
    assert "--replace" in note
    planned = plan(config_of(tmp_path, replace=True))
    assert (planned.todo.todo, planned.todo.replaced) == (2, 1)


def test_a_captioning_and_a_fusion_have_different_names(tmp_path: Path) -> None:
    before = prepared(tmp_path, "t2v")
    hold(before, captioned(["a.mp4"]), settings=before.settings_hash)
    with pytest.raises(ConfigError, match="fused/task=t2v: choose another --name"):
        prepared(tmp_path, name="t2v")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"name": "7b"}, "name: begins with a letter"),
        ({"name": "a/b"}, "name: begins with a letter"),
        ({"replace": True, "mixed": True}, "exclude each other"),
    ],
)
def test_wrong_settings(tmp_path: Path, flags: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        prepared(tmp_path, **flags)
