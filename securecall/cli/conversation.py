"""One call from the command's side: follow it, meter it, compare words, end it, account for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from securecall.address import parse_address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.cli.desk import Board, Desk, Make
from securecall.cli.failures import fields
from securecall.cli.output import Output, security_fields
from securecall.cli.report import save_report
from securecall.cli.sight import Sight, counted, is_film
from securecall.cli.sound import Needle, sample_path
from securecall.cli.typist import type_along
from securecall.errors import IdentityMismatch, LocalError, SecurecallError, Unsupported, UsageError
from securecall.media.endpoints import AudioSink, AudioSource, FileSource, Recorder
from securecall.policy import SecurityLevel

if TYPE_CHECKING:  # PyAV and sounddevice are extras
    from securecall.media.devices import Speaker
    from securecall.media.video.endpoints import VideoSource

_TAIL_SECONDS = 0.6  # what the peer's jitter buffer and speaker still hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a conversation is to go.

    Attributes:
        play: The file to send, None for the sample of the package.
        loop: Send it again and again.
        record: Where to record what is received, None not to; a film by its name, see `sight`.
        seconds: End it after so long, None for no such end.
        until_played: End it when the file was played.
        confirm: Ask whether both read the same words.
        mic: Use microphone and speaker.
        microphone: Which, by a part of its name; "" for the default.
        loudspeaker: The same.
        raw: Send what the microphone hears, with echo and noise.
        gain: Bring the voice to an even loudness.
        speaker: Play what is received, if there is a speaker.
        report: File or folder to keep the report of the call in, None not to keep it.
        video: What to show, see `Sight`; "" for nothing.
        watch: Take their pictures.
        pictures: Have pictures in the call, even if we show none.
        text: Have text in the call, typed and told line by line.
    """

    play: Path | None = None
    loop: bool = False
    record: Path | None = None
    seconds: float | None = None
    until_played: bool = False
    confirm: bool = True
    mic: bool = False
    microphone: str = ""
    loudspeaker: str = ""
    raw: bool = False
    gain: bool = False
    speaker: bool = False
    report: Path | None = None
    video: str = ""
    watch: bool = False
    pictures: bool = False
    text: bool = False


class Sound:
    """What one call sends and where what it receives goes; its pictures, too.

    Attributes:
        sight: The pictures, None in a call with sound alone.
    """

    def __init__(self, wishes: Wishes, *, beside: Sound | None = None) -> None:
        """Open files and devices.

        Args:
            wishes: Which.
            beside: What the call has from which this one was begun; its camera serves both.

        Raises:
            DeviceError: one of them is not there.
            Unsupported: there is no way to show or record this here.
        """
        film = is_film(wishes.record)
        speaker = _speaker(wishes)
        self.source = _source(wishes, speaker)
        self.path = wishes.record
        self.recorder = Recorder(wishes.record) if wishes.record and not film else None
        self.sight: Sight | None = None
        if wishes.pictures:
            self.sight = Sight(
                video=wishes.video,
                record=wishes.record,
                loop=wishes.loop,
                camera=beside.sight if beside is not None else None,
            )
        self.sinks: list[AudioSink] = []
        if self.recorder is not None:
            self.sinks.append(self.recorder)
        if speaker is not None:
            self.sinks.append(speaker)

    def attach(self, call: Call) -> None:
        """Let the call feed every sink."""
        for sink in self.sinks:
            call.add_sink(sink)
        if self.sight is not None:
            self.sight.attach(call)

    @property
    def shows(self) -> VideoSource | bool | None:
        """What to give to a call as its picture."""
        return self.sight.shows if self.sight is not None else None

    def played(self, call: Call) -> bool:
        """Whether there is nothing more to play, or to show to anybody who looks."""
        shown = self.sight is None or not call.video.shown or self.sight.finished.is_set()
        finished = getattr(self.source, "finished", None)  # a microphone never is
        return shown and isinstance(finished, asyncio.Event) and finished.is_set()

    def close(self) -> None:
        """Let go of what no call took."""
        self.source.close()
        if self.sight is not None and not isinstance(self.sight.shows, bool):
            self.sight.shows.close()

    @property
    def recorded(self) -> float:
        """Seconds that were recorded."""
        film = self.sight.recorder if self.sight is not None else None
        return max(recorder.seconds if recorder else 0.0 for recorder in (self.recorder, film))


def _source(wishes: Wishes, speaker: Speaker | None) -> AudioSource:
    if not wishes.mic:
        return FileSource(wishes.play or sample_path(), loop=wishes.loop)
    from securecall.media.devices import Microphone
    from securecall.media.processing import VoiceProcessing

    processing = None
    if not wishes.raw:
        try:
            processing = VoiceProcessing(gain=wishes.gain)
        except Unsupported:
            if wishes.gain:
                raise
    return Microphone(wishes.microphone or None, speaker=speaker, processing=processing)


def _speaker(wishes: Wishes) -> Speaker | None:
    if not (wishes.mic or wishes.speaker):
        return None
    from securecall.media.devices import Speaker

    try:
        return Speaker(wishes.loudspeaker or None)
    except (SecurecallError, OSError):
        if wishes.mic:
            raise
        return None  # only wished for if there is one


async def converse(call: Call, wishes: Wishes, sound: Sound, board: Board) -> None:
    """Lead a call to its end and tell what happens; hangs up.

    Whoever ends it with Ctrl-C is told all the same how it went, and has the report kept.

    Raises:
        CallFailed, SecurityError, NetworkError: it did not come about or broke off.
    """
    output, desk = board.output, Desk(board, call, partial(_talk_aside, board, wishes, sound))
    sound.attach(call)
    began = time.monotonic()
    output.tell("state", state="calling" if call.outgoing else "answering", peer=call.peer)
    error: SecurecallError | None = None
    interrupted: asyncio.CancelledError | None = None
    try:
        async with call:
            await _lead(desk, wishes, sound, board, began)
    except SecurecallError as e:
        error = e
    except asyncio.CancelledError as e:
        interrupted = e
    finally:
        await desk.close()
    unwritten = await sound.sight.finish() if sound.sight is not None else None
    unkept = _account(call, wishes, sound, output, error) or unwritten
    if interrupted is not None:
        raise interrupted
    if error is not None:
        raise error
    if unkept is not None:
        raise unkept


async def _talk_aside(
    board: Board,
    wishes: Wishes,
    beside: Sound,
    make: Make,
    begin: Callable[[], Awaitable[None]],
) -> None:
    """Lead another conversation meanwhile, while people wish so; nobody asked to record that."""
    pictures = bool(wishes.video) or wishes.watch
    apart = replace(
        wishes, record=None, pictures=pictures, seconds=None, until_played=False, loop=True
    )
    sound = Sound(apart, beside=beside)
    try:
        call = make(sound.source, video=sound.shows)
        await begin()
    except BaseException:
        sound.close()
        raise
    try:
        await converse(call, apart, sound, board)
    except SecurecallError as e:
        board.output.tell("failed", **fields(e))


async def _lead(desk: Desk, wishes: Wishes, sound: Sound, board: Board, began: float) -> None:
    call, output = desk.call, board.output
    if call.outgoing:
        await call.ringing()
        if call.state is State.RINGING:
            output.tell("state", state="ringing", peer=call.peer)
    security = await call.connected()
    setup_ms = round((time.monotonic() - began) * 1000, 1)
    output.tell("state", state="connected", peer=call.peer, setup_ms=setup_ms)
    output.tell("security", **security_fields(security))
    _tell_what_is_missing(call, wishes, sound, output)
    comparing: asyncio.Task[None] | None = None
    typing: asyncio.Task[None] | None = None
    try:
        words = call.sas
    except UsageError:
        pass  # no identities, no words: the level says so
    else:
        if wishes.confirm and security.level < SecurityLevel.VERIFIED:
            comparing = asyncio.ensure_future(_compare(call, board, words.words))
            await asyncio.sleep(0)  # it waits for a line now: an answer at once is not for others
        output.tell("words", words=list(words.words), digits=words.digits)
    if call.text.agreed:
        typing = asyncio.ensure_future(type_along(call, output, desk.lines))
    try:
        await _talk(desk, wishes, sound, output, comparing)
    finally:
        for task in (comparing, typing):
            if task is not None:
                task.cancel()


def _tell_what_is_missing(call: Call, wishes: Wishes, sound: Sound, output: Output) -> None:
    if not wishes.mic and wishes.play is None:
        output.tell("sample", ends=wishes.until_played and wishes.seconds is None)
    if sound.sight is not None and not call.video.shown:
        output.tell("note", text="The other side takes no pictures in this call.")
    if wishes.text and not call.text.agreed:
        output.tell("note", text="The other side takes no text in this call.")


async def _compare(call: Call, board: Board, words: tuple[str, ...]) -> None:
    output, question = board.output, f"Do you both read: {' '.join(words)}?"
    text = board.enter if call.text.agreed else None
    same = await output.ask(question, "confirm", "differ", orders=board.enter, text=text)
    if same is False:
        await call.deny_sas()
        raise IdentityMismatch(
            "you read different words, so somebody may sit between you; the call was ended"
        )
    if same:
        security = await call.confirm_sas()
        output.tell("security", **security_fields(security))
        address, identity = call.report.address, security.identity
        if address and identity and not board.client.contacts.is_pinned(parse_address(address)):
            output.tell("unbound", address=address, key=f"key:{identity.root_fp.hex()[:16]}")


async def _talk(
    desk: Desk,
    wishes: Wishes,
    sound: Sound,
    output: Output,
    comparing: asyncio.Task[None] | None,
) -> None:
    """Show the meters until the conversation is over."""
    call, began = desk.call, time.monotonic()
    played: float | None = None
    sent, received = Needle(), Needle()
    async with aclosing(call.levels()) as readings:
        async for levels in readings:
            now = time.monotonic()
            if desk.here.is_set():
                output.tell(
                    "levels",
                    seconds=round(now - began, 2),
                    sent_dbfs=sent.show(levels.sent),
                    received_dbfs=received.show(levels.received),
                    held=call.held,
                    on_hold=call.on_hold,
                    muted=call.muted,
                    **_pictures(call),
                )
            _look(call, sound, output, now)
            if comparing is not None and comparing.done():
                comparing.result()  # different words end the call here
                comparing = None
            if played is None and sound.played(call):
                played = now
            if wishes.seconds is not None:
                if now - began >= wishes.seconds:
                    return
            elif played and now - played > _TAIL_SECONDS and _is_done(desk, wishes, comparing):
                return
    await _part(desk, comparing)


async def _part(desk: Desk, comparing: asyncio.Task[None] | None) -> None:
    """The call ended: so do its questions, but not what was begun from here."""
    if comparing is not None:
        _ = comparing.cancel()
    try:
        _ = await desk.call.ended()
    except SecurecallError:
        await desk.settled()
        raise
    await desk.settled()


def _is_done(desk: Desk, wishes: Wishes, comparing: asyncio.Task[None] | None) -> bool:
    """Whether nothing keeps us in a call in which all was played."""
    return wishes.until_played and comparing is None and desk.idle


def _look(call: Call, sound: Sound, output: Output, now: float) -> None:
    """Tell when their pictures begin to come, and when they stop."""
    sight, still = sound.sight, call.held or call.on_hold or not call.video.shown
    if sight is not None and sight.turned(now, still=still):
        output.tell("pictures", peer=call.peer, **sight.fields(call))


def _pictures(call: Call) -> dict[str, int]:
    counts = call.video.statistics()
    if not counts:
        return {}
    return {
        "pictures_sent": sum(picture.frames_sent for picture in counts),
        "pictures_received": sum(picture.frames_shown for picture in counts),
    }


def _account(
    call: Call, wishes: Wishes, sound: Sound, output: Output, error: SecurecallError | None
) -> LocalError | None:
    """Tell how it went and who could have listened; returns why the report could not be kept."""
    statistics = call.statistics()
    report = call.report
    output.tell(
        "ended",
        peer=call.peer,
        reason=report.ended.value if report.ended else "",
        error="" if error is None else str(error),
        sent_seconds=round(report.media_seconds[0], 2),
        received_seconds=round(report.media_seconds[1], 2),
        lost=statistics.lost if statistics else 0,
        forged=statistics.forged if statistics else 0,
        video=counted(call),
    )
    if sound.recorded:
        output.tell("recorded", path=str(sound.path), seconds=round(sound.recorded, 2))
    kept, unkept = "", None
    if wishes.report is not None:
        try:
            kept = str(save_report(report, wishes.report))
        except LocalError as e:  # what the call was is told all the same
            unkept = e
    output.tell(
        "report",
        report=report.to_object(),
        text=report.who_could_have_listened(),
        keys=bool(report.intervals),
        file=kept,
    )
    return unkept
