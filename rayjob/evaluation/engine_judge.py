"""A local model as judge: a pool of this job's engines, asked from the driver."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import ray
import ray.exceptions

from actors.engine import VllmEngine
from rayjob import cluster
from rayjob.engines import EnginePool, check_model, engine_pool, model_revision
from rayjob.recipes.settings import RecipeDefaults
from schemas.config import EngineConfig, GenerationConfig
from schemas.errors import CaptionError, ModelError, RayjobError
from schemas.media import SamplingPlan
from schemas.recipe import Answer, Request

_RESTARTS = 2


def judge_name(config: EngineConfig) -> str:
    """The judge as scores record it: ``model@revision``.

    Raises:
        ModelError: there is no such model.
    """
    assert config.model is not None
    check_model(config.model, config)
    revision = model_revision(config.model, config.revision)
    return f"{config.model}@{revision}" if revision else config.model


class EngineJudge:
    """A :class:`schemas.recipe.Asker` over a pool of engines, in turn."""

    def __init__(self, engines: list[Any]) -> None:
        self._turn = itertools.cycle(engines)

    async def ask(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            CaptionError: the engine refuses it, or died.
            RayjobError: the engine cannot start.
        """
        try:
            answer: Answer = await next(self._turn).ask.remote(request)
        except CaptionError:
            raise
        except ray.exceptions.RayActorError as error:
            cause = str(error)
            if "ModelError" in cause or "died because of an error" in cause:
                raise ModelError(f"the judge's engine cannot start: {_last_line(error)}") from error
            raise CaptionError(f"the judge's engine died: {_last_line(error)}") from error
        except ray.exceptions.RayError as error:
            raise CaptionError(f"the judge's engine failed: {_last_line(error)}") from error
        return answer


@contextlib.contextmanager
def engine_judge(config: EngineConfig) -> Iterator[EngineJudge]:
    """Start the engines, and stop them at the end.

    Raises:
        ConfigError: the pool does not fit the cluster.
    """
    pool = _pool(config)
    started: Any = ray.remote(VllmEngine).options(
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
    )
    engines = [started.remote(pool.settings) for _ in range(pool.replicas)]
    try:
        yield EngineJudge(engines)
    finally:
        for engine in engines:
            with contextlib.suppress(RayjobError, ray.exceptions.RayError):
                ray.get(engine.close.remote(), timeout=30)
            ray.kill(engine)


def _pool(config: EngineConfig) -> EnginePool:
    assert config.model is not None
    plan = SamplingPlan(num_frames=1)
    defaults = RecipeDefaults(
        model=config.model,
        prompt="",
        system="",
        plan=plan,
        generation=GenerationConfig(),
        max_model_len=16_384,
        max_num_seqs=64,
        # Questions are text: no memory is set aside for pictures and sound.
        media={"image": 0, "video": 0, "audio": 0},
    )
    resources = cluster.connect()
    return engine_pool(config, defaults, plan=plan, cluster_gpus=resources.gpus)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
