from pathlib import Path

import pytest

from rayjob.settings.loading import read_config
from schemas.config import CaptioningConfig, FuseConfig, JobConfig, NightConfig
from schemas.errors import ConfigError

BASE = {"input": ["videos/"], "output": "out"}


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: a\noutput: b\nengine: {max_num_seqs: 4, gpus_per_engine: 0.5}\n")
    config = read_config(
        JobConfig,
        str(path),
        assignments=["engine.max_num_seqs=8"],
        flags={"engine.gpus_per_engine": 0.25},
    )
    assert config.input == ("a",)
    assert (config.engine.max_num_seqs, config.engine.gpus_per_engine) == (8, 0.25)
    flags = {"engine.max_num_seqs": 16}
    config = read_config(JobConfig, str(path), assignments=["engine.max_num_seqs=8"], flags=flags)
    assert config.engine.max_num_seqs == 16


@pytest.mark.parametrize(
    ("text", "assignments", "flags"),
    [
        ("recipe: structured\n", [], {}),
        ("recipe: structured\n", ["recipe.max_attempts=5"], {}),
        ("recipe: structured\n", [], {"recipe.prompt_file": "p.txt"}),
        ("", ["recipe=structured"], {}),
        ("", ["recipe=structured", "recipe.generation.seed=1"], {}),
        ("recipe: omni\n", [], {"recipe.name": "structured"}),
        ("recipe:\n", [], {"recipe.name": "structured"}),
    ],
)
@pytest.mark.parametrize("kind", [JobConfig, NightConfig, FuseConfig])
def test_the_name_alone_is_the_short_form_of_a_recipe(
    tmp_path: Path,
    kind: type[CaptioningConfig],
    text: str,
    assignments: list[str],
    flags: dict[str, object],
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: a\noutput: b\n" + text)
    config = read_config(kind, str(path), assignments=assignments, flags=flags)
    assert config.recipe.name == "structured"
    assert config.recipe.prompt_file == flags.get("recipe.prompt_file")


def test_the_model_itself_takes_the_short_form() -> None:
    config = JobConfig.model_validate({**BASE, "recipe": "clips"})
    assert config.recipe.name == "clips"


def test_a_fusion_keeps_its_task_where_only_other_settings_of_the_recipe_are_given() -> None:
    assert (
        read_config(FuseConfig, assignments=["recipe.max_attempts=5"], flags=BASE).recipe.name
        == "t2v"
    )


def test_a_recipe_samples_evenly() -> None:
    with pytest.raises(ConfigError, match="change is for rayjob split"):
        read_config(JobConfig, assignments=["recipe.plan={fps: 2, change: 5}"], flags=BASE)


def test_lists_may_be_texts() -> None:
    config = read_config(JobConfig, assignments=["source.extensions=mp4, .MKV"], flags=BASE)
    assert config.source.extensions == ("mp4", "mkv")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("engine.max_num_seq", "engine.max_num_seqs"),
        ("engine.modell", "engine.model"),
        ("max_num_seqs", "engine.max_num_seqs"),
        ("recipe.temperature", "recipe.generation.temperature"),
        ("recipe.plan.num_frame", "recipe.plan.num_frames"),
        ("engin.model", "engine"),
        ("retry-failed", "retry_failed"),
    ],
)
def test_a_misspelt_setting_names_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(JobConfig, assignments=[f"{wrong}=1"], flags=BASE)
    key = "engin" if wrong.startswith("engin.") else wrong
    assert f"{key}: there is no such setting; did you mean {meant}?" in str(caught.value).split(
        "\n"
    )


def test_a_setting_that_resembles_none_names_those_beside_it() -> None:
    with pytest.raises(ConfigError, match=r"shards.xyz: .* there are shards.rows, shards.seconds"):
        read_config(JobConfig, assignments=["shards.xyz=1"], flags=BASE)


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


def test_the_output_never_goes_beside_a_csv() -> None:
    with pytest.raises(ConfigError, match="no output"):
        read_config(FuseConfig, None, flags={"input": ["captions.csv"]})


def test_secrets_are_not_repeated() -> None:
    flags = {
        **BASE,
        "engine.vllm_args": "hushhush",
        "engine.device": "hushhush",
        "storage.endpoint_url": "http://me:hushhush@h",
    }
    with pytest.raises(ConfigError) as caught:
        read_config(JobConfig, flags=flags)
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
        (["shards.rows=[1"], BASE, "not YAML"),
    ],
)
def test_mistakes_are_named(assignments: list[str], flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(JobConfig, assignments=assignments, flags=flags)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(JobConfig, str(tmp_path / "no.yaml"), flags={})
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config(JobConfig, str(broken), flags={})
    broken.write_text("- a")
    with pytest.raises(ConfigError, match="not a mapping"):
        read_config(JobConfig, str(broken), flags={})
