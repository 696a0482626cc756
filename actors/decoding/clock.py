"""One clock for a whole file: where recordings were joined, their clocks are joined as well.

Stamps are taken for what they are, a claim. Where the clock of a file jumps, in picture and
sound alike, it was joined from several recordings (or is a DVD's chapter), and what follows the
jump is moved to where the part before ends. A stretch in which one stream alone has no packets
is a still, or silence.
"""

from __future__ import annotations

import itertools
import math
from array import array
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from av.packet import Packet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BACK_SEC = 0.1
"""A clock that goes back by more than this has begun again; less is a muxer's rounding."""

AHEAD_SEC = 2.0
"""A clock that jumps ahead by more than this, and by more than ten ordinary steps, has too."""

INTERLEAVED_PACKETS = 300
"""How far before and behind a join the packets of both parts may be mixed."""

SAME_JUMP_SEC = 1.0
"""How far jumps of picture and sound at the same join differ: one ends before the other."""

ROUND_SEC = 2**33 / 90_000
"""After so long the clocks of MPEG's transport and program streams begin again."""

GUESSED_SEC = 0.3
"""How far FFmpeg's guesses are off where a stamp is for one frame of several."""

_MPEG = ("mpeg1video", "mpeg2video")
_PICTURE_START = b"\x00\x00\x01\x00"


class Stamps:
    """Notes what the packets of one stream say of time, in the order of the file.

    Args:
        codec: FFmpeg's name for it, "" where FFmpeg need not guess when its frames are shown.
    """

    def __init__(self, codec: str = "") -> None:
        self._codec = codec
        self._values = array("d")
        self._places = array("q")

    def __len__(self) -> int:
        return len(self._places)

    def add(self, packet: Packet[Any], place: int) -> None:
        """Note a packet.

        Args:
            place: its number among the packets of all streams.
        """
        tick = float(packet.time_base)
        for stamp in (packet.dts, packet.pts, packet.duration):
            self._values.append(math.nan if stamp is None else stamp * tick)
        between = self._codec in _MPEG and _is_between(packet)
        self._values.append(packet.is_keyframe | packet.is_discard << 1 | between << 2)
        self._places.append(place)

    @property
    def first(self) -> float:
        """The first stamp, NaN without any."""
        times = itertools.chain.from_iterable(
            zip(self._values[0::4], self._values[1::4], strict=True)
        )
        return next((time for time in times if not math.isnan(time)), math.nan)

    def read(self, near: float = math.nan) -> Packets:
        """All that was noted, but for stamps that others contradict.

        Args:
            near: a stamp, for clocks of 33 bits: none is further from it than half their round.
        """
        values = np.frombuffer(self._values, dtype=np.float64).reshape(-1, 4).copy()
        flags = values[:, 3].astype(np.int64)
        rounds = np.zeros((len(values), 2))
        if not math.isnan(near):
            rounds = -np.nan_to_num(np.round((values[:, :2] - near) / ROUND_SEC)) * ROUND_SEC
            values[:, :2] += rounds
        packets = Packets(
            places=np.frombuffer(self._places, dtype=np.int64),
            decoded=values[:, 0],
            shown=values[:, 1],
            lasting=values[:, 2],
            keys=(flags & 1).astype(bool),
            hidden=(flags & 2).astype(bool),
            moves=np.where(np.isnan(values[:, 0]), rounds[:, 1], rounds[:, 0]),
        )
        if self._codec in _MPEG:
            packets = packets.steadied((flags & 4).astype(bool))
        wrong = _glitches(packets)
        packets.decoded[wrong] = packets.shown[wrong] = np.nan
        # At a join FFmpeg guesses when a packet is decoded, by the clock of the part before.
        late = packets.shown - packets.decoded
        if not math.isnan(near) and not np.isnan(late).all():
            late -= np.nanmedian(late)
            jump = np.diff(packets.decoded, append=np.nan)
            odd = (abs(late) > AHEAD_SEC) & (abs(late - jump) < SAME_JUMP_SEC)
            packets.shown[odd] -= late[odd]
        return packets


@dataclass(frozen=True, kw_only=True)
class Packets:
    """The packets of one stream in decoding order; times in seconds, NaN where not stamped.

    Attributes:
        places: their numbers among the packets of all streams, shape (P,), increasing.
        decoded, shown: when they are decoded and shown, shape (P,).
        lasting: how long, 0 or NaN where unknown, shape (P,).
        keys: whether they are marked as key frames, shape (P,).
        hidden: whether an edit list hides them, shape (P,).
        moves: what was added to the stamps in the file, shape (P,).
    """

    places: Ints
    decoded: Floats
    shown: Floats
    lasting: Floats
    keys: Bools
    hidden: Bools
    moves: Floats

    def __len__(self) -> int:
        return len(self.places)

    @property
    def tells_decoding(self) -> bool:
        """Whether most stamped packets say when they are decoded."""
        decoded, shown = (np.count_nonzero(~np.isnan(each)) for each in (self.decoded, self.shown))
        return bool(2 * decoded >= shown)

    @property
    def stamps(self) -> Floats:
        """When the packets are decoded, or else when they are shown, shape (P,).

        NaN for hidden ones: an edit goes back to a key frame, and shows nothing of the way.
        """
        stamps = self.decoded if self.tells_decoding else self.shown
        return np.where(self.hidden, np.nan, stamps)

    @property
    def step(self) -> float:
        """The ordinary step from stamp to stamp, 0 where none goes ahead."""
        stamps = self.stamps
        steps = np.diff(stamps[~np.isnan(stamps)])
        return float(np.median(steps[steps > 0])) if np.any(steps > 0) else 0.0

    @property
    def lacks_some(self) -> bool:
        """Whether frames are missing from the middle of a stream of even ones."""
        times = np.unique(np.where(np.isnan(self.shown), self.decoded, self.shown).round(6))
        steps = np.diff(times[~np.isnan(times)])
        even = np.count_nonzero(abs(steps - self.step) < 0.0015)
        return bool(even >= 0.9 * len(steps) and np.any(steps > 2.5 * self.step + 0.002))

    @property
    def end(self) -> float:
        """When the last of them is no longer shown, minus infinity without stamps."""
        shown = np.where(np.isnan(self.shown), self.decoded, self.shown)
        return float(np.max(np.nan_to_num(shown + np.nan_to_num(self.lasting), nan=-np.inf)))

    def steadied(self, between: Bools) -> Packets:
        """The packets of MPEG-1 or 2 pictures whose stamps FFmpeg guessed, timed anew.

        A program stream stamps some frames only, and FFmpeg may take a stamp for one of the next
        frames'. So frames follow each other as long as they last, unless stamps say otherwise by
        more than a few frames.

        Args:
            between: which are B-frames: they are shown when they are decoded, and others after
                the B-frames behind them.
        """
        decoded, due = self.decoded.copy(), math.nan
        lasting = np.where(self.lasting > 0, self.lasting, self.step)
        for at, (stamp, length) in enumerate(zip(decoded.tolist(), lasting.tolist(), strict=True)):
            if math.isnan(stamp) or abs(stamp - due) < GUESSED_SEC:
                decoded[at] = due
            due = decoded[at] + length
        last = np.append(np.flatnonzero(~between)[1:], len(decoded)) - 1
        shown = decoded.copy()
        shown[~between] = decoded[last] + lasting[last]
        return replace(self, decoded=decoded, shown=shown)

    def moved(self, joins: Joins) -> Packets:
        """The same packets on the clock that goes through the whole file."""
        moves = _moves(self, joins)
        return replace(
            self,
            decoded=self.decoded + moves,
            shown=self.shown + moves,
            moves=self.moves + moves,
        )


@dataclass(frozen=True, kw_only=True)
class Joins:
    """Where the clock of a file jumps.

    Attributes:
        places: of the first packets behind the jumps, shape (J,), increasing.
        jumps: how far they come after the moment when they are due, in seconds, shape (J,).
    """

    places: Ints
    jumps: Floats

    @property
    def moves(self) -> Floats:
        """Seconds to add to the stamps of each part, shape (J + 1,)."""
        return -np.concatenate([[0.0], np.cumsum(self.jumps)])


def find_joins(picture: Packets | None, sound: Packets | None, *, ahead: bool) -> Joins:
    """Find where a file was joined: by its picture, or its sound where it has no picture.

    Args:
        ahead: whether jumps ahead are joins: in containers for recordings without end they
            are, others mean what they say. Where there is sound, it must jump as well; else the
            jump is a still.
    """
    lead, other = (picture, sound) if picture is not None and len(picture) else (sound, None)
    if lead is None:
        return Joins(places=np.empty(0, dtype=np.int64), jumps=np.empty(0))
    places, jumps = _jumps(lead)
    far = jumps > 0 if ahead else np.zeros(len(jumps), dtype=bool)
    if other is not None and len(other):
        _, others = _jumps(other)
        far &= np.array([np.any(abs(others - jump) < SAME_JUMP_SEC) for jump in jumps], dtype=bool)
    joined = (jumps < 0) | far
    return Joins(places=places[joined], jumps=jumps[joined])


def _is_between(packet: Packet[Any]) -> bool:
    """Whether the picture of an MPEG-1 or 2 packet is a B-frame, by its header."""
    data = bytes(packet)
    at = data.find(_PICTURE_START)
    return 0 <= at < len(data) - 5 and data[at + 5] >> 3 & 7 == 3


def _jumps(packets: Packets) -> tuple[Ints, Floats]:
    """Places behind a stream's jumps, and how far they are."""
    stamps, step = packets.stamps, packets.step
    known = np.flatnonzero(~np.isnan(stamps))
    steps = np.diff(stamps[known])
    if len(steps) == 0:
        return known[:0], steps
    ordinary = float(np.percentile(steps, 90))
    # Without decoding times, stamps go back and forth by a few frames.
    back = BACK_SEC if packets.tells_decoding else max(BACK_SEC, 10 * step)
    at = np.flatnonzero((steps < -back) | (steps > max(AHEAD_SEC, 10 * ordinary)))
    return packets.places[known[at + 1]], steps[at] - step


def _glitches(packets: Packets) -> Bools:
    """Which packets bear a stamp far from both of their neighbours', shape (P,)."""
    stamps = packets.stamps
    known = np.flatnonzero(~np.isnan(stamps))
    steps = np.diff(stamps[known])
    into, out = steps[:-1], steps[1:]
    odd = (into < -BACK_SEC) | (into > AHEAD_SEC) & (out < 0)
    odd &= (into + out > 0) & (into + out < 3 * packets.step + BACK_SEC)
    wrong = np.zeros(len(packets), dtype=bool)
    wrong[known[1:-1][odd]] = True
    return wrong


def _moves(packets: Packets, joins: Joins) -> Floats:
    """What to add to the stamps of each packet of a stream, in seconds, shape (P,).

    Near a join, where the packets of both parts are mixed, a packet belongs to the part whose
    clock goes on with it; elsewhere to the part that it lies in.
    """
    moves, stamps, lasting = joins.moves, packets.stamps, np.nan_to_num(packets.lasting)
    parts = np.searchsorted(joins.places, packets.places, side="right")
    for number, place in enumerate(joins.places.tolist(), start=1):
        near = (place - INTERLEAVED_PACKETS, place + INTERLEAVED_PACKETS)
        part, due = number - 1, None
        for at in range(*np.searchsorted(packets.places, near).tolist()):
            if parts[at] not in (number - 1, number) or np.isnan(stamps[at]):
                continue
            if due is None:
                part = number if packets.places[at] >= place else part
            elif part < number and abs(stamps[at] + moves[part] - due) > BACK_SEC:
                stays, goes = (abs(stamps[at] + moves[each] - due) for each in (part, number))
                part = number if goes < stays else part
            parts[at] = part
            due = stamps[at] + moves[part] + lasting[at]
    return moves[parts]
