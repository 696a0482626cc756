"""The decoding process: reads requests from its parent, answers with clips or errors."""

from __future__ import annotations

import os
import resource
import select
import threading
from typing import Any

from actors.decoding.decoder import decode
from actors.decoding.wire import read_header, send_clip, write_message
from actors.storage.access import open_range
from schemas.errors import CorruptMediaError, DecoderCrashedError, VideoError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions

BACKSTOP_MB = 512
"""Memory that may be asked for, but not used, above the limit on what is used."""


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    requests, answers = os.dup(0), os.dup(1)
    # Whatever a library prints must not end up among the answers.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    threading.Thread(target=_die_with_parent, args=(requests,), daemon=True).start()

    def read(buffer: memoryview) -> int:
        return os.readv(requests, [buffer])

    setup = read_header(read)
    if setup is None:
        return
    limits = DecodeLimits.model_validate(setup["limits"])
    storage = StorageOptions.model_validate(setup["storage"])
    most = (limits.memory_mb + BACKSTOP_MB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write_message(answers, {"kind": "ready"})
    while (request := read_header(read)) is not None:
        _serve(request, limits, storage, answers)


def _serve(
    request: dict[str, Any], limits: DecodeLimits, storage: StorageOptions, answers: int
) -> None:
    try:
        plan = SamplingPlan.model_validate(request["plan"])
        with open_range(request["uri"], storage) as reader:
            clip = decode(reader, plan, limits)
    except VideoError as error:
        answer = {"kind": "error", "error": type(error).__name__, "message": str(error)}
        write_message(answers, answer)
    except MemoryError:
        message = f"decoding needs more than {limits.memory_mb} MB of memory"
        write_message(
            answers, {"kind": "error", "error": DecoderCrashedError.__name__, "message": message}
        )
    except Exception as error:
        message = f"the decoder failed unexpectedly: {type(error).__name__}: {error}"
        write_message(
            answers, {"kind": "error", "error": CorruptMediaError.__name__, "message": message}
        )
    else:
        send_clip(answers, clip)


def _die_with_parent(requests: int) -> None:
    """End the process when the parent's end of the pipe closes, whatever it is doing."""
    poll = select.poll()
    poll.register(requests, 0)  # only the hang-up, which is always reported
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
