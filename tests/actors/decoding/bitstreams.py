"""What no encoder at hand writes: fields, packed B-frames, programs, channels in disorder."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from tests.support.media import Sound, numbered, render

MACROBLOCK = 16
TS_PACKET = 188


class Bits:
    """Writes bits, the highest first."""

    def __init__(self) -> None:
        self._bits = ""

    def u(self, value: int, width: int) -> Bits:
        """Write a number of fixed width."""
        self._bits += format(value, f"0{width}b")
        return self

    def ue(self, *values: int) -> Bits:
        """Write numbers as Exp-Golomb codes; a signed 0 is one as well."""
        for value in values:
            code = format(value + 1, "b")
            self._bits += "0" * (len(code) - 1) + code
        return self

    def raw(self, data: bytes) -> Bits:
        """Write bytes, from a byte's boundary on."""
        self._bits += "0" * (-len(self._bits) % 8) + "".join(format(byte, "08b") for byte in data)
        return self

    def nal(self, kind: int, reference: int = 1) -> bytes:
        """All that was written as a NAL unit of H.264, with its start code."""
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        escaped, zeros = bytearray(), 0
        for byte in data:
            if zeros >= 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            zeros = zeros + 1 if byte == 0 else 0
            escaped.append(byte)
        return b"\0\0\0\1" + bytes([reference << 5 | kind]) + bytes(escaped)


def field_pairs(path: Path, *, count: int, width: int = 96, height: int = 32) -> Path:
    """H.264 whose frames are two fields each, stamped once, at 25 frames per second."""
    across, down = width // MACROBLOCK, height // MACROBLOCK // 2
    sps = Bits().u(77, 8).u(0, 8).u(30, 8).ue(0, 0, 2, 1).u(0, 1).ue(across - 1, down - 1)
    sps.u(0b00101, 5)  # fields, frame by frame; direct 8x8; no cropping; more about timing
    sps.u(0, 4).u(1, 1).u(1, 32).u(50, 32).u(0b10000, 5)
    pps = Bits().ue(0, 0).u(0, 2).ue(0, 0, 0).u(0, 3).ue(0, 0, 0).u(0, 3)
    with av.open(str(path), "w", format="mpegts") as output:
        stream = output.add_mux_stream("h264", rate=25, width=width, height=height)
        for number in range(count):
            luma = numbered(number, width=width, height=height)[..., 0]
            data = b"\0\0\0\1\x09\x10" + sps.nal(7) + pps.nal(8)
            for field in (0, 1):
                first = number == 0 and field == 0
                slice_ = Bits().ue(0, 7, 0).u(number % 16, 4).u(2 + field, 2)
                slice_ = slice_.ue(0).u(0, 2) if first else slice_.u(0, 1)
                slice_.ue(0)
                for row in range(down):
                    for column in range(across):
                        left = column * MACROBLOCK
                        block = luma[field::2][row * 16 : row * 16 + 16, left : left + 16]
                        slice_.ue(25).raw(block.tobytes() + bytes([128]) * 128)
                data += slice_.nal(5 if first else 1)
            packet = av.Packet(data)
            packet.pts = packet.dts = number * 3600 + 90_000
            packet.time_base, packet.stream = Fraction(1, 90_000), stream
            packet.is_keyframe = number == 0
            output.mux(packet)
    return path


def packed_b_frames(path: Path, *, count: int, gop: int) -> Path:
    """MPEG-4 in AVI as DivX packed it: each B-frame in the packet of the frame it refers to."""
    bare = render(path.with_name("bare.avi"), count=count, codec="mpeg4", gop=gop, b_frames=1)
    with av.open(str(bare)) as opened, av.open(str(path), "w") as output:
        source = opened.streams.video[0]
        stream = output.add_stream_from_template(source)
        coded = [bytes(packet) for packet in opened.demux(source) if packet.size]
        label = b"\0\0\1\xb2DivX503b1393p"
        packets, last = [], b""
        for at, data in enumerate(coded):
            start = data.index(b"\0\0\1\xb6")
            if data[start + 4] >> 6 == 2:
                # The B-frame goes before; where it was, a picture that is not coded.
                packets[-1] += data
                packets.append(last[:6])
            else:
                packets.append(data[:start] + label * (at == 0) + data[start:])
                last = b"\0\0\1\xb6\x50\x00"
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            packet.is_keyframe = b"\0\0\1\xb6" in data and data[data.index(b"\0\0\1\xb6") + 4] < 64
            output.mux(packet)
    return path


def programs(path: Path, *sources: Path) -> Path:
    """Several transport streams of other numbers, as the programs of one."""
    parts, entries = [], b""
    for source in sources:
        data = source.read_bytes()
        packets = [data[at : at + TS_PACKET] for at in range(0, len(data), TS_PACKET)]
        tables = [packet for packet in packets if packet[1] & 0x1F == 0 and packet[2] == 0]
        entries += tables[0][13:17]
        parts.append([packet for packet in packets if packet not in tables])
    section = b"\0\xb0" + bytes([9 + len(entries)]) + b"\0\1\xc1\0\0" + entries
    section += struct.pack(">I", _crc(section))
    table = (b"\x47\x40\0\x10\0" + section).ljust(TS_PACKET, b"\xff")
    longest = max(len(part) for part in parts)
    mixed = [
        part[at * len(part) // longest]
        for at in range(longest)
        for part in parts
        if at == 0 or at * len(part) // longest != (at - 1) * len(part) // longest
    ]
    path.write_bytes(table + b"".join(mixed))
    return path


def _crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def channels_in_disorder(path: Path, *, labels: tuple[int, ...], sound: Sound) -> Path:
    """QuickTime whose channels are told one by one, in an order that has no name.

    Args:
        labels: of the channels, in QuickTime's numbers.
        sound: of as many channels, uncompressed.
    """
    data = render(path, sounds=[sound], count=25).read_bytes()
    chan = struct.pack(">I4sIIII", 24 + 20 * len(labels), b"chan", 0, 0, 0, len(labels))
    chan += b"".join(struct.pack(">II12x", label, 0) for label in labels)
    at = data.index(b"chan") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    grown = bytearray(data[:at] + chan + data[at + size :])
    _grow(grown, 0, len(data), at, len(chan) - size)
    path.write_bytes(grown)
    return path


def _grow(data: bytearray, begin: int, end: int, place: int, by: int) -> None:
    """Correct the sizes of the boxes around a place where bytes were put in."""
    inside = {b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8, b"stbl": 8, b"stsd": 16}
    at = begin
    while at < end:
        size = int.from_bytes(data[at : at + 4], "big")
        kind = bytes(data[at + 4 : at + 8])
        if at < place < at + size:
            data[at : at + 4] = (size + by).to_bytes(4, "big")
            if kind in inside:
                _grow(data, at + inside[kind], at + size, place, by)
            return
        at += max(size, 8)


def cropped(path: Path, *, left: int, bottom: int, source: Path) -> Path:
    """A Matroska file whose header cuts off edges of the picture."""
    extra = bytes.fromhex("54cc81") + bytes([left]) + bytes.fromhex("54aa81") + bytes([bottom])
    path.write_bytes(_appended(source.read_bytes(), ("18538067", "1654ae6b", "ae", "e0"), extra))
    return path


def _appended(data: bytes, place: tuple[str, ...], extra: bytes) -> bytes:
    """EBML elements with bytes added at the end of one, which is named by the way to it."""
    if not place:
        return data + extra
    at = 0
    while at < len(data):
        width = 9 - data[at].bit_length()
        length = 9 - data[at + width].bit_length()
        body = at + width + length
        size = int.from_bytes(data[at + width : body], "big") ^ 1 << 7 * length
        if data[at : at + width].hex() == place[0]:
            inner = _appended(data[body : body + size], place[1:], extra)
            header = data[at : at + width] + (len(inner) | 1 << 56).to_bytes(8, "big")
            return data[:at] + header + inner + data[body + size :]
        at = body + size
    raise ValueError(f"there is no element {place[0]}")


def edited(path: Path, source: Path, edits: list[tuple[int, int, int]], *, track: int = 0) -> Path:
    """An MP4 file, its index at its end, with another edit list for one of its tracks.

    Args:
        edits: milliseconds, where they begin in the track's own time (-1 for nothing), speed.
    """
    data = source.read_bytes()
    index = next(at for at, kind, _ in _boxes(data, 0) if kind == b"moov")
    entries = b"".join(struct.pack(">IiHH", *each, 0) for each in edits)
    made = _box(b"edts", _box(b"elst", struct.pack(">II", 0, len(edits)) + entries))
    moov, tracks = b"", 0
    for _, kind, box in _boxes(data, index + 8):
        inner = [(inside, part) for _, inside, part in _boxes(box, 8)] if kind == b"trak" else []
        if inner and tracks == track:
            parts = [
                part + made * (inside == b"tkhd") for inside, part in inner if inside != b"edts"
            ]
            box = _box(kind, b"".join(parts))
        moov, tracks = moov + box, tracks + bool(inner)
    path.write_bytes(data[:index] + _box(b"moov", moov))
    return path


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _boxes(data: bytes, at: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Place, kind and bytes of each box from a place to the end."""
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield at, data[at + 4 : at + 8], data[at : at + size]
        at += size
