"""The processes beside an engine that prepare its requests, as they look from inside.

The first one loads the model's processor and then forks one for each order, so that loading takes
its seconds and its memory once, and one that died is replaced at once. None of them sees a GPU.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
from typing import Any

from actors.engine.loading import EngineSettings, prompt_builder, without_collections
from actors.engine.preparing.channel import Channel
from actors.engine.preparing.here import PrepareHere
from schemas.errors import RayjobError

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve the socket whose number is the last argument, until its other end is closed."""
    orders = Channel(socket.socket(fileno=int(sys.argv.pop())))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how one ended
    with without_collections():  # so that those that fork share its memory, too
        preparer = _preparer(*orders.receive())
    orders.send(None)
    while (end := orders.receive_end()) is not None:
        if not os.fork():
            orders.close()
            _serve(Channel(end), preparer)
            os._exit(0)
        end.close()


def _preparer(settings: EngineSettings, config: bytes) -> PrepareHere:
    from vllm.renderers import renderer_from_config

    renderer = renderer_from_config(pickle.loads(config))
    return PrepareHere(renderer, prompt_builder(settings, renderer))


def _serve(channel: Channel, preparer: PrepareHere) -> None:
    """Say the process id; then answer one request after the other: with what was prepared, or the
    error.
    """
    channel.send(os.getpid())
    with asyncio.Runner() as loop:
        while True:
            try:
                request = channel.receive()
            except EOFError:
                return
            answer: Any
            try:
                answer = loop.run(preparer.prepare(request))
            except RayjobError as error:
                answer = error
            except Exception as error:
                # Nobody knows whether it can be sent.
                logger.exception("unforeseen error while preparing a request")
                answer = RuntimeError(f"{type(error).__name__}: {error}")
            try:
                channel.send(answer)
            except OSError:
                return
            del request, answer
