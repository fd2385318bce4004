"""The same calls and chats for scripts without asyncio: a loop in a thread behind plain methods.

    from securecall import sync

    with sync.open("alice", passphrase=secret) as alice:
        with alice.call(ticket, audio=securecall.FileSource("hello.wav")) as call:
            print(call.connected().level.name, *call.sas.words)

Every method blocks until its asyncio counterpart is done and raises what that raises. Objects of
this module may be used from any one thread at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from securecall import call_history as _call_history
from securecall import client as _client
from securecall import events as _events
from securecall.account import Account, EngineName
from securecall.address import Address
from securecall.calls import call as _call
from securecall.calls import call_text as _call_text
from securecall.calls import call_video as _call_video
from securecall.calls.pictures import CAMERA
from securecall.calls.report import Consent, ListenerReport
from securecall.chat import conversation as _conversation
from securecall.chat.message import Message
from securecall.contacts import Contact
from securecall.errors import EndReason, UsageError
from securecall.fips import Fips, Profile
from securecall.keys.signing import Signer
from securecall.keys.ticket import Ticket
from securecall.keys.verification import Sas
from securecall.media.endpoints import AudioSource, Recorder
from securecall.media.engine import AudioStatistics
from securecall.media.frames import AudioFrame
from securecall.policy import Policy, SecurityLevel, SecurityState
from securecall.secret import Secret
from securecall.store.backup import Backup
from securecall.store.lock import Keeper
from securecall.transport.tls import PemPair

if TYPE_CHECKING:  # PyAV is an extra
    from securecall.media.video.endpoints import VideoSink, VideoSource
    from securecall.media.video.frames import VideoFrame
    from securecall.media.video.statistics import VideoStatistics

_T = TypeVar("_T")


def open(  # noqa: A001 - `securecall.sync.open` reads as it should
    path: str | Path,
    *,
    passphrase: Secret | None = None,
    keeper: Keeper | None = None,
    root: Signer | None = None,
    create: bool = False,
    policy: Policy | None = None,
    profile: Profile = "standard",
    fips: Fips = "required",
) -> Client:
    """Open (or make) a person's endpoint; use it as `with`. See `securecall.open`."""
    return Client(
        _client.open(
            path,
            passphrase=passphrase,
            keeper=keeper,
            root=root,
            create=create,
            policy=policy,
            profile=profile,
            fips=fips,
        )
    )


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="securecall")
        self._thread.start()

    def run(self, work: Coroutine[object, object, _T]) -> _T:
        """Run a coroutine there and wait for it; an interrupt here cancels it there."""
        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError("securecall.sync is not to be used from inside its own event loop")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def stop(self) -> None:
        """End what is left in the loop, then the loop and its thread."""
        self.run(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def each(self, items: AsyncIterator[_T]) -> Iterator[_T]:
        """Iterate over what comes there; each item is waited for here."""

        async def following() -> tuple[_T, ...]:
            async for item in items:
                return (item,)
            return ()

        while found := self.run(following()):
            yield found[0]

    def do(self, work: Callable[[], _T]) -> _T:
        """Call something there, where everything of the client lives."""

        async def done() -> _T:
            return work()

        return self.run(done())

    async def _settle(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            _ = task.cancel()
        _ = await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        for _ in range(3):  # closed connections let go of their sockets in the turns after
            await asyncio.sleep(0)


class CallVideo:
    """What is shown in a call; see `securecall.Call.video`."""

    def __init__(self, loop: _Loop, inner: _call_video.CallVideo) -> None:
        """Made by the call."""
        self._loop = loop
        self._inner = inner

    @property
    def shown(self) -> frozenset[str]:
        """What both ends agreed on."""
        return self._inner.shown

    def show(self, source: VideoSource | None, what: str = CAMERA) -> None:
        """Show this from now on; None shows black, then sends nothing."""
        self._loop.do(lambda: self._inner.show(source, what))

    def add(self, source: VideoSource | None = None, what: str = CAMERA) -> None:
        """Ask for a picture in mid-call, and show this source in it."""
        self._loop.run(self._inner.add(source, what))

    def drop(self, what: str = CAMERA) -> None:
        """End a picture, both ways."""
        self._loop.run(self._inner.drop(what))

    def frames(self, what: str = CAMERA) -> Iterator[VideoFrame]:
        """The peer's pictures, one by one; the oldest are dropped if nobody reads."""
        return self._loop.each(self._loop.do(lambda: self._inner.frames(what)))

    def add_sink(self, sink: VideoSink, what: str = CAMERA) -> None:
        """Give the peer's pictures to a sink, in the thread of the loop."""
        self._loop.do(lambda: self._inner.add_sink(sink, what))

    def remove_sink(self, sink: VideoSink) -> None:
        """Give it nothing more, and leave it open."""
        self._loop.do(lambda: self._inner.remove_sink(sink))

    def statistics(self) -> tuple[VideoStatistics, ...]:
        """Counters of each picture."""
        return self._inner.statistics()


class CallText:
    """What is typed in a call; see `securecall.Call.text`."""

    def __init__(self, loop: _Loop, inner: _call_text.CallText) -> None:
        """Made by the call."""
        self._loop = loop
        self._inner = inner

    @property
    def agreed(self) -> bool:
        """Whether both ends have text in this call."""
        return self._inner.agreed

    def send(self, text: str) -> None:
        """Send text; returns once it has left."""
        self._loop.run(self._inner.send(text))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the peer's text, piece by piece, until the call ends."""
        return self._loop.each(aiter(self._inner))

    def statistics(self) -> _call_text.TextStatistics:
        """Counters of it."""
        return self._inner.statistics()


class Call:
    """A call in progress; leaving its block hangs up.

    Attributes:
        video: What is shown in it, both ways.
        text: What is typed in it, both ways.
    """

    def __init__(self, loop: _Loop, inner: _call.Call) -> None:
        """Made by `Client.call` and `Client.answer`."""
        self._loop = loop
        self._inner = inner
        self.video = CallVideo(loop, inner.video)
        self.text = CallText(loop, inner.text)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __enter__(self) -> Self:
        """Begin the call."""
        self._loop.run(self._inner.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        self._loop.run(self._inner.hang_up())

    @property
    def peer(self) -> str:
        """The peer's address for people."""
        return self._inner.peer

    @property
    def security(self) -> SecurityState:
        """The current snapshot of the call's protection."""
        return self._inner.security

    @property
    def sas(self) -> Sas:
        """The words to read to each other."""
        return self._inner.sas

    @property
    def report(self) -> ListenerReport:
        """Who could have listened."""
        return self._inner.report

    def statistics(self) -> AudioStatistics | None:
        """Counters of the audio, None before media began."""
        return self._inner.statistics()

    def connected(self) -> SecurityState:
        """Wait until media may flow; raises as `securecall.Call.connected`."""
        return self._loop.run(self._inner.connected())

    def ended(self) -> EndReason:
        """Wait for the end; raises as `securecall.Call.ended`."""
        return self._loop.run(self._inner.ended())

    def confirm_sas(self) -> SecurityState:
        """Say that both people read the same words."""
        return self._loop.run(self._inner.confirm_sas())

    def deny_sas(self) -> None:
        """Say that the words differ: the call ends at once."""
        self._loop.run(self._inner.deny_sas())

    def hang_up(self) -> None:
        """End the call."""
        self._loop.run(self._inner.hang_up())

    @property
    def on_hold(self) -> bool:
        """Whether we put the other end on hold."""
        return self._inner.on_hold

    @property
    def held(self) -> bool:
        """Whether the other end put us on hold."""
        return self._inner.held

    def hold(self) -> None:
        """Put the other end on hold: nothing of either is heard or seen."""
        self._loop.run(self._inner.hold())

    def resume(self) -> None:
        """Take the other end back."""
        self._loop.run(self._inner.resume())

    def transfer(self, to: str | Address | Call) -> None:
        """Send the other end to somebody else, or into another call; see `securecall.Call`."""
        other = to._inner if isinstance(to, Call) else to  # noqa: SLF001 - of the same class
        self._loop.run(self._inner.transfer(other))

    def press(self, digits: str) -> None:
        """Send digits; returns when they are sent."""
        self._loop.run(self._inner.press(digits))

    def digits(self) -> Iterator[str]:
        """The digits that the other end presses from now on, until the call ends."""
        return self._loop.each(self._loop.do(self._inner.digits))

    def play(self, source: AudioSource) -> None:
        """Send a source's sound until it runs dry or the call ends."""
        self._loop.run(self._inner.play(source))

    def record(self, path: str | Path) -> Recorder:
        """Record the peer's sound to a WAV file."""
        return self._loop.do(lambda: self._inner.record(path))

    def note_consent(self, answer: Consent, *, by: str = "") -> None:
        """Write into the report what was asked or answered about recording, and by whom."""
        self._inner.note_consent(answer, by=by)

    @property
    def audio(self) -> Iterator[AudioFrame]:
        """The peer's sound, frame by frame, until the call ends."""
        return self._loop.each(self._inner.audio)

    def write(self, frame: AudioFrame) -> None:
        """Send one frame; waits while the bounded ring is full."""
        self._loop.run(self._inner.write(frame))


class TransferRequested:
    """The other end of a call asks us to call another address; see `securecall.events`."""

    def __init__(self, loop: _Loop, inner: _events.TransferRequested) -> None:
        """Made by `Client.transfers`."""
        self._loop = loop
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def peer(self) -> str:
        """Who asks: the other end of that call, its address for people."""
        return self._inner.call.peer

    @property
    def target(self) -> str:
        """What was asked for, as it came."""
        return self._inner.target

    @property
    def address(self) -> Address | None:
        """Whom to call, None where that is nobody's address: then it was refused."""
        return self._inner.address

    @property
    def replaces(self) -> bool:
        """Whether it is an attended transfer."""
        return self._inner.replaces

    def accept(
        self,
        *,
        audio: AudioSource | None = None,
        video: VideoSource | bool | None = None,
        text: bool = False,
        require: SecurityLevel | None = None,
        policy: Policy | None = None,
        account: Account | None = None,
    ) -> Call:
        """Call whom they name; use it as `with`. The old call stays as it is."""
        return Call(
            self._loop,
            self._loop.do(
                lambda: self._inner.accept(
                    audio=audio,
                    video=video,
                    text=text,
                    require=require,
                    policy=policy,
                    account=account,
                )
            ),
        )

    def decline(self) -> None:
        """Say that nobody will be called."""
        self._loop.do(self._inner.decline)


class CallHistory:
    """Which calls there were; see `securecall.Client.call_history`."""

    def __init__(self, loop: _Loop, inner: _call_history.CallHistory) -> None:
        """Made by the client."""
        self._loop = loop
        self._inner = inner

    def calls(self) -> tuple[_call_history.PastCall, ...]:
        """Every call that is remembered, the newest first."""
        return self._loop.do(self._inner.calls)

    def forget(self, numbers: Iterable[int]) -> None:
        """Forget these."""
        self._loop.do(lambda: self._inner.forget(numbers))

    def clear(self) -> None:
        """Forget all."""
        self._loop.do(self._inner.clear)

    @property
    def kept(self) -> tuple[int, int]:
        """How many calls are remembered, and for how many days."""
        return self._loop.do(lambda: self._inner.kept)

    def keep(self, *, calls: int, days: int) -> None:
        """Remember so many calls, for so many days; the rest is forgotten at once."""
        self._loop.do(lambda: self._inner.keep(calls=calls, days=days))


class Conversation:
    """What we and somebody write to each other; see `securecall.Conversation`."""

    def __init__(self, loop: _Loop, inner: _conversation.Conversation) -> None:
        """Made by `Client.conversation`."""
        self._loop = loop
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def address(self) -> Address:
        """The other person's, or the room's."""
        return self._inner.address

    def send(self, text: str, *, reply_to: Message | None = None, expires: int = 0) -> Message:
        """Write a message; it is kept before it is sent, and sent again until the server has it."""
        return self._loop.run(self._inner.send(text, reply_to=reply_to, expires=expires))

    def send_file(self, path: Path, *, name: str = "", expires: int = 0) -> Message:
        """Send a file, encrypted here and opened there."""
        return self._loop.run(self._inner.send_file(path, name=name, expires=expires))

    def save_file(self, message: Message, folder: Path) -> Path:
        """Get the file of a message; returns where it is."""
        return self._loop.run(self._inner.save_file(message, folder))

    def mark_read(self, message: Message) -> None:
        """Mark everything up to this message as read."""
        self._loop.run(self._inner.mark_read(message))

    def messages(self, *, count: int = 50, before: int = 0) -> tuple[Message, ...]:
        """The last messages (before a number, if given), oldest of them first."""
        return self._loop.do(lambda: self._inner.messages(count=count, before=before))

    def incoming(self, *, after: int | None = None) -> Iterator[Message]:
        """Yield what others write here, for ever."""
        return self._loop.each(self._inner.incoming(after=after))


class Client:
    """One person on this machine."""

    def __init__(self, inner: _client.Client) -> None:
        """Use `securecall.sync.open`."""
        self._inner = inner
        self._running: _Loop | None = None

    def __enter__(self) -> Self:
        """Start the loop and open the store."""
        self._running = _Loop()
        try:
            self._running.run(self._inner.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every call, lock the store, stop the loop."""
        try:
            self._loop.run(self._inner.__aexit__(kind, error, trace))
        finally:
            self._stop()

    @property
    def address(self) -> Address:
        """Our address without any account: the root key itself."""
        return self._inner.address

    def back_up(self, file: str | Path, *, passphrase: Secret) -> Backup:
        """Write a backup; see `securecall.Client.back_up`."""
        return self._loop.run(self._inner.back_up(file, passphrase=passphrase))

    def ticket(self, *, host: str = "", port: int = 0, valid_seconds: int = 0) -> str:
        """Make a one-time ticket; see `securecall.Client.ticket`."""
        seconds = valid_seconds or _client.TICKET_SECONDS
        return self._loop.run(self._inner.ticket(host=host, port=port, valid_seconds=seconds))

    def listen(self, host: str = "0.0.0.0", port: int = 0) -> tuple[str, int]:  # noqa: S104 - see `securecall.Client.listen`
        """Take direct calls on this address; see `securecall.Client.listen`."""
        return self._loop.run(self._inner.listen(host, port))

    def sign_in_to_chat(
        self,
        xmpp: str,
        *,
        password: Secret,
        server: tuple[str, int] | str | None = None,
        server_name: str = "",
        authorities: Path | None = None,
    ) -> None:
        """Use an XMPP address through its server; see `securecall.Client.sign_in`."""
        _ = self._loop.run(
            self._inner.sign_in(
                xmpp=xmpp,
                password=password,
                server=server,
                server_name=server_name,
                authorities=authorities,
            )
        )

    def conversation(self, who: str | Address | Contact) -> Conversation:
        """What we and somebody write to each other; see `securecall.Client.conversation`."""
        return Conversation(self._loop, self._loop.do(lambda: self._inner.conversation(who)))

    def forget_conversations(self) -> None:
        """Give up all that is kept of them; see `securecall.Client.forget_conversations`."""
        self._loop.run(self._inner.forget_conversations())

    def messages(self, *, after: int | None = None) -> Iterator[Message]:
        """Yield what others write, in every conversation, for ever."""
        return self._loop.each(self._inner.messages(after=after))

    def sign_in(
        self,
        sip: str,
        *,
        password: Secret | None = None,
        user: str = "",
        server: tuple[str, int] | str | None = None,
        server_name: str = "",
        authorities: Path | None = None,
        listen: tuple[str, int] | None = None,
        certificate: PemPair | None = None,
        provider_mode: str = "proxy",
        engine: EngineName = "native",
    ) -> Account:
        """Use a SIP address through its server; see `securecall.Client.sign_in`."""
        return self._loop.run(
            self._inner.sign_in(
                sip,
                password=password,
                user=user,
                server=server,
                server_name=server_name,
                authorities=authorities,
                listen=listen,
                certificate=certificate,
                provider_mode=provider_mode,
                engine=engine,
            )
        )

    def contact(self, address: str | Address) -> Contact:
        """The contact behind an address."""
        return self._loop.run(self._inner.contact(address))

    def call(
        self,
        who: str | Address | Contact | Ticket,
        *,
        audio: AudioSource | None = None,
        video: VideoSource | bool | None = None,
        text: bool = False,
        require: SecurityLevel | None = None,
        require_pq: bool = False,
        policy: Policy | None = None,
        scanned: bool = False,
        direct: tuple[str, int] | None = None,
    ) -> Call:
        """Call somebody; use it as `with`. See `securecall.Client.call`."""
        return Call(
            self._loop,
            self._loop.do(
                lambda: self._inner.call(
                    who,
                    audio=audio,
                    video=video,
                    text=text,
                    require=require,
                    require_pq=require_pq,
                    policy=policy,
                    scanned=scanned,
                    direct=direct,
                )
            ),
        )

    def answer(
        self,
        *,
        audio: AudioSource | None = None,
        video: VideoSource | bool | None = None,
        text: bool = False,
        require: SecurityLevel | None = None,
    ) -> Call:
        """Wait for the next call and take it; use it as `with`."""

        async def take() -> _call.Call:
            ring = await self._inner.next_call()
            return ring.accept(audio=audio, video=video, text=text, require=require)

        return Call(self._loop, self._loop.run(take()))

    def transfers(self) -> Iterator[TransferRequested]:
        """Yield what asks us to call somebody else, from now on and for ever; in a thread of yours.

        Who is not answered is told after three minutes that nobody was called.
        """
        events = self._loop.do(self._inner.events)

        def following() -> Iterator[TransferRequested]:
            for event in self._loop.each(events):
                if isinstance(event, _events.TransferRequested):
                    yield TransferRequested(self._loop, event)

        return following()

    @property
    def call_history(self) -> CallHistory:
        """Which calls there were, missed ones too."""
        return CallHistory(self._loop, self._inner.call_history)

    @property
    def _loop(self) -> _Loop:
        if self._running is None:
            raise UsageError("open the client first: with securecall.sync.open(...) as client")
        return self._running

    def _stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None
