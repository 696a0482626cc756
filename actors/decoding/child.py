"""The decoding process: reads requests from its parent, answers with rows or errors."""

from __future__ import annotations

import json
import os
import resource
import select
import threading
import traceback
from typing import Any, BinaryIO

from actors.decoding.answers import READY, send, send_error, send_row
from actors.decoding.decoder import decode
from actors.decoding.reading import ReadingCosts
from actors.storage.access import open_range
from schemas.blocks import video_row
from schemas.budget import Budget
from schemas.errors import DecoderCrashedError, DecoderFaultError, VideoError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions

BACKSTOP_MB = 512
"""Memory that may be asked for, but not used, above the limit on what is used."""


def main() -> None:
    """Serve requests, a line of JSON each, until the parent closes the pipe."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not end up among the answers.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    threading.Thread(target=_die_with_parent, args=(requests.fileno(),), daemon=True).start()
    setup = json.loads(requests.readline())
    limits = DecodeLimits.model_validate(setup["limits"])
    storage = StorageOptions.model_validate(setup["storage"])
    budget = None if setup["budget"] is None else Budget.model_validate(setup["budget"])
    most = (limits.memory_mb + BACKSTOP_MB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    send(answers, READY)
    for line in requests:
        _serve(json.loads(line), limits, storage, budget, answers)


def _serve(
    request: dict[str, Any],
    limits: DecodeLimits,
    storage: StorageOptions,
    budget: Budget | None,
    answers: BinaryIO,
) -> None:
    try:
        plan = SamplingPlan.model_validate(request["plan"])
        with open_range(request["uri"], storage) as reader:
            video = decode(reader, plan, limits, ReadingCosts.of(storage), budget)
            row = video_row(video)
    except VideoError as error:
        send_error(answers, type(error).__name__, str(error))
    except MemoryError:
        message = f"decoding needs more than {limits.memory_mb} MB of memory"
        send_error(answers, DecoderCrashedError.__name__, message)
    except Exception as error:
        # Nothing foreseen: not known to be the file's doing, and so not held against it.
        message = f"{type(error).__name__} in the decoding process: {error}"
        send_error(answers, DecoderFaultError.__name__, message, trace=traceback.format_exc())
    else:
        send_row(answers, row)


def _die_with_parent(requests: int) -> None:
    """End the process when the parent's end of the pipe closes, whatever it is doing."""
    poll = select.poll()
    poll.register(requests, 0)  # only the hang-up, which is always reported
    poll.poll()
    os._exit(0)
