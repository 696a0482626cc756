"""As the published scripts do: decode a clip, generate its caption, take the next one."""

from __future__ import annotations

import os

from benchmarks.peers.common import Log, decoded, paths_of_arguments, request, setup


def main() -> None:
    """Caption the clips of ``--folder``."""
    paths, chosen, log = paths_of_arguments(), setup(), Log()
    os.environ.update(chosen.environment)
    from vllm import LLM, SamplingParams

    engine = LLM(model=chosen.model, **chosen.args)
    sampling = SamplingParams(temperature=chosen.temperature, max_tokens=chosen.max_tokens)
    for path in paths:
        (answer,) = engine.generate(
            [request(decoded(path), chosen.prompt)], sampling, use_tqdm=False
        )
        log.add(len(answer.prompt_token_ids or ()))
    log.tell()


if __name__ == "__main__":
    main()
