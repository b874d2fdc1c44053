"""Decoding of a damaged file: a packet that cannot be read costs itself and not the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import overload

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

logger = logging.getLogger(__name__)


@overload
def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]: ...
@overload
def decoded(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]: ...
def decoded(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[VideoFrame | AudioFrame]:
    """The frames of a stream, packet by packet, to its end or to where it cannot be read any further."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            logger.info("reading stopped: %s", error)
            return
        if packet is None:
            return
        try:
            yield from stream.decode(packet)
        except EndOfFile:
            return
        except av.FFmpegError as error:
            logger.info("a damaged packet was skipped: %s", error)
