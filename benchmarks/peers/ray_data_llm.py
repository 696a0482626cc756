"""Ray Data's own processor for vLLM, with clips decoded in a map before it."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray
from ray.data.llm import build_processor, vLLMEngineProcessorConfig

from benchmarks.peers.common import Log, decoded, paths_of_arguments, request, setup

_BATCH = 16


def main() -> None:
    """Caption the clips of ``--folder``."""
    paths, chosen, log = paths_of_arguments(), setup(), Log()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        asked = request(row, chosen.prompt)
        return {
            "prompt": asked["prompt"],
            "multimodal_data": asked["multi_modal_data"],
            "mm_processor_kwargs": asked["mm_processor_kwargs"],
            "sampling_params": {
                "temperature": chosen.temperature,
                "max_tokens": chosen.max_tokens,
            },
        }

    def take(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "at": time.time(),
            "prompt_tokens": row["num_input_tokens"],
            "caption": row["generated_text"],
        }

    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=chosen.model,
            engine_kwargs=chosen.args,
            concurrency=1,
            batch_size=_BATCH,
            # As many as the job's engine has in flight.
            max_concurrent_batches=-(-chosen.in_flight // _BATCH),
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            log_engine_metrics=False,
            accelerator_type=None,
            runtime_env={"env_vars": chosen.environment},
            placement_group_config={"bundles": [{"CPU": 1}]},
        ),
        preprocess=ask,
        postprocess=take,
    )
    rows = [{"path": path} for path in paths]
    clips = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // 8)).map(
        _decoded_row, num_cpus=0.5
    )
    for row in processor(clips).iter_rows():
        log.add(row["prompt_tokens"], at=row["at"])
    log.tell()


def _decoded_row(row: dict[str, Any]) -> dict[str, Any]:
    return decoded(row["path"])


if __name__ == "__main__":
    main()
