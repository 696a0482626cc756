"""What a run stores of its configuration."""

import yaml

from rayjob import job
from rayjob.settings.redaction import HIDDEN
from schemas.config import EngineConfig, JobConfig


def test_a_stored_configuration_holds_no_secret() -> None:
    signed = "https://me:hushhush@host/a.mp4?X-Amz-Signature=hushhush"
    config = JobConfig(
        input=(signed, "s3://bucket/what?#.mp4"),
        output="out",
        engine=EngineConfig(vllm_args={"hf_token": "hushhush", "max_num_batched_tokens": 4096}),
    )
    text = job._config_yaml(config, "r1")
    assert "hushhush" not in text
    stored = yaml.safe_load(text)
    assert stored["run_id"] == "r1"
    assert stored["input"] == ["https://host/a.mp4", "s3://bucket/what?#.mp4"]
    assert stored["engine"]["vllm_args"] == {"hf_token": HIDDEN, "max_num_batched_tokens": 4096}
