"""Frames on their way out of one connection, kept here while the transport has enough to do.

A frame is a turn's gathering already: all answers of a slice, all entries of a batch. So it leaves at once, where the transport
can be asked to; waiting for the reactor to come round to writing would cost a tenth of the time of a command alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport, IWriteDescriptor
from zope.interface import implementer

from txraft.wire.frames import frame_header

__all__ = ["Outbox"]


@implementer(IPushProducer)
class Outbox:
    """The frames of one connection, first in, first out.

    Whoever fills it also bounds it, by `unsent_bytes`: what the transport itself holds is less than one frame and 64 KiB more.

    Attributes:
        unsent_bytes: of the frames kept here.
    """

    def __init__(self, transport: ITransport, on_pause: Callable[[bool], object] | None = None) -> None:
        """`on_pause` is called with true when the transport asks to pause, with false when everything kept here has gone."""
        self.unsent_bytes = 0
        self._transport: Any = transport
        self._descriptor = transport if IWriteDescriptor.providedBy(transport) else None
        self._on_pause = on_pause
        self._frames: deque[bytes] = deque()
        self._paused = False
        self._resuming = False  # the transport has called us: it must not be called back, or each frame would nest in the one before
        IConsumer(transport).registerProducer(self, True)

    def write(self, frame: bytes) -> None:
        """Send the frame with this content, after all before it."""
        if self._paused:
            self._frames.append(frame)
            self.unsent_bytes += len(frame)
        else:
            self._transport.writeSequence((frame_header(len(frame)), frame))
            if self._descriptor is not None and not self._resuming and not self._transport.disconnecting:
                # What it does not take now, and what goes wrong, the reactor finds as ever: the descriptor stays registered for writing.
                self._descriptor.doWrite()

    def drop_oldest(self) -> None:
        """Forget the frame that has waited longest."""
        self.unsent_bytes -= len(self._frames.popleft())

    def close(self) -> None:
        """No more is sent from here: with a producer the transport would wait for it for ever before closing."""
        self._discard()
        IConsumer(self._transport).unregisterProducer()

    def pauseProducing(self) -> None:
        if not self._paused:
            self._paused = True
            if self._on_pause is not None:
                self._on_pause(True)

    def resumeProducing(self) -> None:
        self._paused, self._resuming = False, True
        while self._frames and not self._paused:
            frame = self._frames.popleft()
            self.unsent_bytes -= len(frame)
            self.write(frame)
        self._resuming = False
        if not self._paused and self._on_pause is not None:
            self._on_pause(False)

    def stopProducing(self) -> None:
        self._discard()
        self._paused = True

    def _discard(self) -> None:
        self._frames.clear()
        self.unsent_bytes = 0
