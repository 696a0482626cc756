from pathlib import Path

import pytest

from rayjob.settings import load_config
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
        (["recipe=omni", "recipe.name=omni"], BASE, "recipe is set to a single value"),
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
