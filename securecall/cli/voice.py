"""Voice messages of the command: from the microphone, or from a WAV file."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

from securecall.chat.voice import MOST_SECONDS, VoiceMessage, VoiceRecorder
from securecall.chat.voice import record as record_source
from securecall.media.endpoints import FileSource

_STEPS_AT_ONCE: Final = 50  # a second of sound, before other things get a turn


async def record(seconds: int, stop: asyncio.Event, folder: Path) -> tuple[Path, float]:
    """Record from the microphone until told to stop, or for so many seconds (0: as long as it may).

    Raises:
        DeviceError: there is no microphone, or it broke.
        Unsupported: what it needs is not installed.
    """
    from securecall.media.devices import Microphone

    message = await record_source(
        Microphone(), stop, most_seconds=min(seconds or MOST_SECONDS, MOST_SECONDS)
    )
    return await asyncio.to_thread(_kept, message, folder), message.seconds


async def from_file(path: Path, folder: Path) -> tuple[Path, float]:
    """Make a voice message of a WAV file; what is longer than a quarter of an hour is cut.

    Raises:
        DeviceError: it is no WAV file.
    """
    source = FileSource(path)
    recorder = VoiceRecorder(source)
    try:
        while not (source.finished.is_set() or recorder.full):
            for _ in range(_STEPS_AT_ONCE):
                if source.finished.is_set():
                    break
                recorder.step()
            await asyncio.sleep(0)
    finally:
        source.close()
    message = recorder.finish()
    return await asyncio.to_thread(_kept, message, folder), message.seconds


def _kept(message: VoiceMessage, folder: Path) -> Path:
    """For our eyes only, until it was sent."""
    descriptor, name = tempfile.mkstemp(suffix=".ogg", dir=folder)  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        _ = file.write(message.data)
    return Path(name)
