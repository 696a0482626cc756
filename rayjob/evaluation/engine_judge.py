"""A local model as judge: a pool of this job's engines, asked from the driver."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import ray
import ray.exceptions

from actors.replica import JudgeReplica
from rayjob.capacity.cluster import connect, innermost
from rayjob.capacity.engine_spec import EngineSpec, engine_spec
from rayjob.capacity.model_files import check_model, model_revision
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig
from schemas.errors import CaptionError, ModelError, RayjobError
from schemas.media import StorageOptions
from schemas.recipe import Answer, Request

_RESTARTS = 2
_CLOSE_SECONDS = 30.0
_COMPACT = {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}}
"""Guided decoding allows any white space between the parts of an answer, and some models
never stop writing it."""


def judge_engine(config: EngineConfig, storage: StorageOptions) -> EngineSpec:
    """The judge's engine: of texts alone.

    Raises:
        ConfigError: see :func:`rayjob.capacity.engine_spec.engine_spec`.
    """
    assert config.model is not None
    return engine_spec(
        config.model_copy(update={"vllm_args": _COMPACT | config.vllm_args}),
        plan=None,
        model=config.model,
        max_model_len=16_384,
        max_num_seqs=64,
        storage=storage,
    )


class EngineJudge:
    """A :class:`schemas.recipe.Asker` over a pool of engines, in turn.

    The engines start with the first question: where every answer is stored, none starts.

    Args:
        storage: how a model is reached that lies in one.
        patience: as of :class:`actors.replica.Replica`.

    Attributes:
        name: as scores record it, ``model@revision``.

    Raises:
        ConfigError: from the constructor, see :func:`judge_engine`.
        ModelError: from the constructor, if there is no such model.
    """

    def __init__(self, config: EngineConfig, storage: StorageOptions, *, patience: float) -> None:
        self._patience = patience
        self._spec = judge_engine(config, storage)
        model = self._spec.model
        check_model(model, config, storage)
        revision = model_revision(model, config.revision, storage)
        self.name = f"{model}@{revision}" if revision else model
        self._engines: list[Any] = []
        self._turn = itertools.count()

    async def aclose(self) -> None:
        """Stop the engines."""
        for engine in self._engines:
            with contextlib.suppress(RayjobError, ray.exceptions.RayError):
                ray.get(engine.close.remote(), timeout=_CLOSE_SECONDS)
            ray.kill(engine)

    async def ask(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            CaptionError: the engine refuses it, or died.
            ConfigError: the pool does not fit the cluster.
            ModelError: the engine cannot start.
        """
        if not self._engines:
            pool = engine_pool(self._spec, connect())
            started: Any = ray.remote(JudgeReplica).options(
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
                max_restarts=_RESTARTS,
                max_task_retries=_RESTARTS,
            )
            self._engines = [
                started.remote(pool.settings, patience=self._patience) for _ in range(pool.replicas)
            ]
        engine = self._engines[next(self._turn) % len(self._engines)]
        try:
            answer: Answer = await engine.ask.remote(request)
        except CaptionError:
            raise
        except ray.exceptions.ActorDiedError as error:
            if "creation task" in str(error):
                raise ModelError(f"the judge's engine cannot start: {innermost(error)}") from error
            raise CaptionError(f"the judge's engine died: {innermost(error)}") from error
        except ray.exceptions.RayError as error:
            raise CaptionError(f"the judge's engine failed: {innermost(error)}") from error
        return answer
