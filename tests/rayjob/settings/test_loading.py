from pathlib import Path

import pytest

from rayjob.settings.loading import load_config, read_config
from schemas.config import FuseConfig
from schemas.errors import ConfigError

BASE = {"input": ["videos/"], "output": "out"}


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: a\noutput: b\nengine: {max_num_seqs: 4, gpus_per_engine: 0.5}\n")
    config = load_config(
        str(path), assignments=["engine.max_num_seqs=8"], flags={"engine.gpus_per_engine": 0.25}
    )
    assert config.input == ("a",)
    assert (config.engine.max_num_seqs, config.engine.gpus_per_engine) == (8, 0.25)
    flags = {"engine.max_num_seqs": 16}
    config = load_config(str(path), assignments=["engine.max_num_seqs=8"], flags=flags)
    assert config.engine.max_num_seqs == 16


def test_short_form_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: a\noutput: b\nrecipe: omni\n")
    config = load_config(str(path), flags={"recipe.prompt_file": "p.txt"})
    assert (config.recipe.name, config.recipe.prompt_file) == ("omni", "p.txt")
    config = load_config(str(path), assignments=["recipe.max_attempts=5"], flags={})
    assert (config.recipe.name, config.recipe.max_attempts) == ("omni", 5)


@pytest.mark.parametrize(
    ("text", "assignments", "flags", "output"),
    [
        ("input: s3://caps/y\n", [], {}, "s3://caps/y"),
        ("input: [s3://caps/y, more.csv]\n", [], {}, "s3://caps/y"),
        ("output: s3://fused/x\n", [], {"input": ["s3://caps/y"]}, "s3://fused/x"),
        ("", ["output=s3://fused/x"], {"input": ["s3://caps/y"]}, "s3://fused/x"),
        ("output: a\n", [], {"input": ["b"], "output": "c"}, "c"),
        ("output: a\n", [], {"input": ["captions.CSV"]}, "a"),
    ],
)
def test_fusion_writes_beside_the_captions_unless_told(
    tmp_path: Path, text: str, assignments: list[str], flags: dict[str, object], output: str
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text + "limit: 3\n")
    config = read_config(FuseConfig, str(path), assignments=assignments, flags=flags)
    assert config.output == output


def test_a_csv_is_no_place_for_the_output() -> None:
    with pytest.raises(ConfigError, match="no output"):
        read_config(FuseConfig, None, flags={"input": ["captions.csv"]})


def test_secrets_are_not_repeated() -> None:
    flags = {**BASE, "engine.vllm_args": "x", "storage.endpoint_url": "http://me:hushhush@h"}
    with pytest.raises(ConfigError) as caught:
        load_config(None, flags=flags)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignments", "flags", "message"),
    [
        ([], {"output": "o"}, "no input"),
        ([], {"input": ["i"]}, "no output"),
        (["engine.modell=x"], BASE, "engine.modell: there is no such setting"),
        (["engine.gpus_per_engine=1.5"], BASE, "fraction up to 1 or a whole number"),
        (["run_id=2026"], BASE, "run_id"),
        (["run_id='2026'"], BASE, "begins with a letter"),
        (["nonsense"], BASE, "key=value"),
        (["limit=0"], BASE, "limit"),
        (["recipe.plan={fps: 1, num_frames: 3}"], BASE, "exactly one of num_frames and fps"),
        (["limit=3", "limit.name=omni"], BASE, "limit is set to a single value"),
        (["shards.rows=[1"], BASE, "no YAML"),
    ],
)
def test_mistakes_are_named(assignments: list[str], flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, assignments=assignments, flags=flags)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(str(tmp_path / "no.yaml"), flags={})
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(ConfigError, match="no valid YAML"):
        load_config(str(broken), flags={})
    broken.write_text("- a")
    with pytest.raises(ConfigError, match="no mapping"):
        load_config(str(broken), flags={})
