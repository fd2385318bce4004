"""The sound command: which microphones and loudspeakers there are, and whether one hears you."""

from __future__ import annotations

import argparse
import asyncio
import time

from securecall.cli.output import Output
from securecall.cli.sound import Needle
from securecall.errors import DeviceError
from securecall.media.devices import Microphone, sound_devices
from securecall.media.frames import TICK, rms_dbfs
from securecall.media.levels import INTERVAL, SILENCE

_RATE = 48000
_SAMPLES = round(_RATE * TICK)


async def sound(args: argparse.Namespace, output: Output) -> None:
    """List the devices, and listen to one for a few seconds if asked to; nothing is kept.

    Raises:
        DeviceError: there is no such microphone, or it broke.
        Unsupported: what it needs is not installed.
    """
    found = await asyncio.to_thread(sound_devices)
    output.tell(
        "sound_devices",
        microphones=[
            {"name": d.name, "default": d.is_default_input} for d in found if d.inputs > 0
        ],
        loudspeakers=[
            {"name": d.name, "default": d.is_default_output} for d in found if d.outputs > 0
        ],
    )
    if args.listen is not None and not args.microphone and not any(d.inputs for d in found):
        raise DeviceError("there is no microphone")
    if args.listen is not None:
        await _listen(Microphone(args.microphone or None), args.listen, output)


async def _listen(microphone: Microphone, seconds: float, output: Output) -> None:
    needle, loudest, most = Needle(), SILENCE, SILENCE
    begun = shown = time.monotonic()
    try:
        while (now := time.monotonic()) - begun < seconds:
            while (pcm := microphone.read(_SAMPLES, _RATE)) is not None:
                loudest = max(loudest, rms_dbfs(pcm))
            if now - shown >= INTERVAL:
                shown, most = now, max(most, loudest)
                output.tell("level", seconds=round(now - begun, 2), dbfs=needle.show(loudest))
                loudest = SILENCE
            await asyncio.sleep(TICK)
    finally:
        microphone.close()
    output.tell("listened", loudest_dbfs=round(most, 1))
