"""What a run stores of its configuration."""

import pytest
import yaml

from rayjob.run import job
from rayjob.settings.redaction import HIDDEN, shown_config
from schemas.config import EngineConfig, FuseConfig, JobConfig, RecipeConfig
from schemas.media import StorageOptions
from schemas.sources import SourceConfig

SECRET = "hushhush"


def test_a_stored_configuration_holds_no_secret() -> None:
    signed = f"https://me:{SECRET}@host/a.mp4?X-Amz-Signature={SECRET}"
    config = JobConfig(
        input=(signed, "s3://bucket/what?#.mp4"),
        output="out",
        engine=EngineConfig(
            vllm_args={"hf_token": SECRET, "max_num_batched_tokens": 4096, "quantization": "fp8"}
        ),
    )
    text = job._config_yaml(config, "r1")
    assert SECRET not in text
    stored = yaml.safe_load(text)
    assert stored["run_id"] == "r1"
    assert stored["input"] == ["https://host/a.mp4", "s3://bucket/what?#.mp4"]
    assert stored["engine"]["vllm_args"] == {
        "hf_token": HIDDEN,
        "max_num_batched_tokens": 4096,
        "quantization": "fp8",
    }


@pytest.mark.parametrize(
    "name",
    ["access_key", "private_key", "Authorization", "cookie", "auth", "pw", "name", "model", "x.y"],
)
@pytest.mark.parametrize("place", ["vllm_args", "mm_processor_kwargs", "options"])
def test_texts_under_free_names_are_hidden(place: str, name: str) -> None:
    planted = {name: SECRET, "deep": {"deeper": [SECRET, {name: f"Bearer {SECRET}"}]}, "n": 1}
    config = JobConfig(
        input=("in",),
        output="out",
        engine=EngineConfig.model_validate({} if place == "options" else {place: planted}),
        recipe=RecipeConfig(options=planted if place == "options" else {}),
    )
    text = job._config_yaml(config, "r1")
    assert SECRET not in text
    stored = yaml.safe_load(text)
    free = stored["recipe" if place == "options" else "engine"][place]
    assert (free[name], free["n"]) == (HIDDEN, 1)


def test_settings_of_ours_are_shown_as_they_are() -> None:
    job_config = JobConfig(
        input=("in",),
        output="s3://bucket/out",
        recipe=RecipeConfig(
            name="clips",
            prompt_file="p.txt",
            system_prompt="Be brief.",
            options={"frame_prompt_file": "f.txt", "window_sec": 4, "guided": True},
        ),
        engine=EngineConfig(model="org/name", revision="main", dtype="bfloat16"),
        source=SourceConfig(extensions=("mp4",)),
        storage=StorageOptions(endpoint_url="http://127.0.0.1:9000", region="eu-west-1"),
    )
    fusion = FuseConfig(input=("in",), output="out", source_recipe="structured")
    for config in (job_config, fusion):
        data = config.model_dump(mode="json")
        assert shown_config(data) == data
        assert shown_config(shown_config(data)) == data
