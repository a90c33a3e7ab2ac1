"""Frames: a length as u32, big-endian, then that many bytes. Pure; `docs/wire-format.md` says the same for strangers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from txraft.errors import RemoteProtocolError

__all__ = ["FrameSplitter", "frame_header"]

_HEADER = struct.Struct(">I")
_HEADER_BYTES = _HEADER.size

frame_header = _HEADER.pack
"""The four bytes before a frame's content, from its length."""


class FrameSplitter:
    """Cuts what arrives, in whatever pieces, into frames.

    Attributes:
        frame_bytes_max: longest frame content taken; may be changed between two frames.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._wanted = 0

    @property
    def incomplete(self) -> bool:
        """Whether a frame has begun and has not ended."""
        return bool(self._buffer)

    def split(self, received: bytes) -> Iterator[bytes]:
        """The frames that `received` completes; to be exhausted before the next call. At most one frame's bytes are kept.

        Raises:
            RemoteProtocolError: a length of 0 or beyond `frame_bytes_max`, as soon as it is known. The stream cannot be read on.
        """
        if self._buffer:
            self._buffer += received
            if len(self._buffer) < self._wanted:
                return
            received = bytes(self._buffer)
            self._buffer.clear()
        begin, end = 0, len(received)
        self._wanted = _HEADER_BYTES
        while end - begin >= _HEADER_BYTES:
            (length,) = _HEADER.unpack_from(received, begin)
            if not 0 < length <= self.frame_bytes_max:
                raise RemoteProtocolError(f"a frame of {length} bytes, where 1 to {self.frame_bytes_max} are allowed")
            begin_of_next = begin + _HEADER_BYTES + length
            if begin_of_next > end:
                self._wanted = _HEADER_BYTES + length
                break
            yield received[begin + _HEADER_BYTES : begin_of_next]
            begin = begin_of_next
        if begin < end:
            self._buffer += received[begin:]
