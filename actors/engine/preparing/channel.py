"""Python objects from process to process, with their arrays and tensors in shared memory.

A message is a file in memory, handed over by its descriptor: the sender writes each array into it
once, and the receiver's arrays lie in it. It has no name, so that nothing is left behind however a
process ends, and it is freed with the last array in it. What comes is believed: both ends are of
one program.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

import torch

_HEADER = struct.Struct("<QQ")
"""Where in the file the pickle is, and how long."""

_ALIGNMENT = 64

_MOST_KEPT = 64 << 20
"""Bytes of a message whose memory is used again."""


class Channel:
    """One end of a socket of messages.

    Args:
        end: of the family AF_UNIX and the type SOCK_SEQPACKET; it is this object's from now on.
        reuses: what is sent lies where the message before it was: whoever receives it answers when
            nothing uses it any more. New memory takes several times as long to write.
    """

    def __init__(self, end: socket.socket, *, reuses: bool = False) -> None:
        self._socket = end
        self._reuses = reuses
        self._memory: int | None = None

    @classmethod
    def pair(cls, *, reuses: bool = False) -> tuple[Channel, socket.socket]:
        """A channel, and its other end for another process."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(here, reuses=reuses), there

    def send(self, value: Any) -> None:
        """Send an object. Raises OSError where nobody listens any more."""
        buffers: list[pickle.PickleBuffer] = []
        file = io.BytesIO()
        _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
        memory, self._memory = self._memory, None
        if memory is None:
            memory = os.memfd_create("message", os.MFD_CLOEXEC)
        end = 0
        try:
            spans = list[tuple[int, int]]()
            for buffer in buffers:
                content = buffer.raw()
                _write(memory, content, end)
                spans.append((end, len(content)))
                end = -(-(end + len(content)) // _ALIGNMENT) * _ALIGNMENT
            tail = pickle.dumps((spans, file.getvalue()))
            _write(memory, memoryview(tail), end)
            socket.send_fds(self._socket, [_HEADER.pack(end, len(tail))], [memory])
        finally:
            if self._reuses and end < _MOST_KEPT:
                self._memory = memory
            else:
                os.close(memory)

    def receive(self, timeout: float | None = None) -> Any:
        """The next object.

        Raises:
            EOFError: the other end is closed; its process may have died.
            TimeoutError: nothing came for so many seconds.
        """
        self._socket.settimeout(timeout)
        try:
            header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
        except ConnectionError as error:
            raise EOFError from error
        if not header:
            raise EOFError
        try:
            memory = memoryview(mmap.mmap(descriptors[0], 0))
        finally:
            os.close(descriptors[0])
        begin, length = _HEADER.unpack(header)
        spans, content = pickle.loads(memory[begin : begin + length])
        buffers = [memory[first : first + size] for first, size in spans]
        return pickle.loads(content, buffers=buffers)

    def send_end(self, end: socket.socket) -> None:
        """Hand over the end of another socket, for :meth:`receive_end`."""
        socket.send_fds(self._socket, [b"."], [end.fileno()])

    def receive_end(self) -> socket.socket | None:
        """What :meth:`send_end` sent, None where the other end is closed."""
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        return socket.socket(fileno=descriptors[0]) if descriptors else None

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, torch.Tensor):
            return NotImplemented
        content = obj.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (pickle.PickleBuffer(content), obj.dtype, tuple(obj.shape))


def _tensor(content: Any, dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
    if not len(content):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)


def _write(file: int, content: memoryview, begin: int) -> None:
    while content:
        written = os.pwrite(file, content, begin)
        content, begin = content[written:], begin + written
