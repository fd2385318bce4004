"""Files on their way: sealed here, put where our server says, got from where a peer says."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from securecall.chat.attachments import SEALING, Opening, SealedFile, seal_file
from securecall.chat.conversation import Progress
from securecall.chat.message import SharedFile
from securecall.chat.sealing import Opener, most_sealed
from securecall.errors import (
    ConnectFailed,
    LocalError,
    NetworkError,
    PolicyRefused,
    ProtocolError,
    Unsupported,
    UsageError,
)
from securecall.transport.https import Https
from securecall.transport.threads import in_thread
from securecall.transport.web_address import WebAddress, parse_web_address
from securecall.xmpp.nodes import Asks
from securecall.xmpp.upload import (
    MEDIA_TYPE,
    NAME_BYTES,
    Slot,
    UploadService,
    build_info_query,
    build_items_query,
    build_slot_request,
    parse_items,
    parse_service,
    parse_slot,
    upload_name,
)

MOST_DOWNLOAD: Final = 100 * 1024 * 1024
"""Bytes of a file that are fetched unless the caller allows more."""

MOST_FETCH: Final = 16 * 1024 * 1024
"""Likewise, into memory."""


class AsksServer(Asks, Protocol):
    """What is needed of a session."""

    @property
    def domain(self) -> str:
        """Our server."""
        ...


class Sharing:
    """Sends and fetches the files of one account."""

    def __init__(self, session: AsksServer, https: Https) -> None:
        """Use a session to ask for places, and `https` for what is put there and got elsewhere."""
        self._session = session
        self._https = https
        self._service: UploadService | None = None
        self._shown = False

    async def find_service(self) -> UploadService:
        """Return who takes our files; asked once.

        Raises:
            Unsupported: our server has no such service.
            NetworkError: it does not answer.
        """
        if self._service is None:
            self._service = await self._look_for_service()
        return self._service

    async def _look_for_service(self) -> UploadService:
        domain = self._session.domain
        items = await self._session.request(build_items_query(), to=domain)
        for jid in (*parse_items(items), domain):
            try:
                answer = await self._session.request(build_info_query(), to=jid)
                found = parse_service(jid, answer)
            except ConnectFailed:
                raise
            except (NetworkError, ProtocolError):
                continue  # one service that is broken must not hide the others
            if found is not None:
                return found
        raise Unsupported(f"{domain} has no service that takes files (XEP-0363)")

    async def upload(
        self,
        file: Path | bytes,
        folder: Path,
        *,
        name: str = "",
        media_type: str = "",
        seconds: float = 0.0,
        expires: int = 0,
        link: bool = False,
        progress: Progress | None = None,
    ) -> SharedFile:
        """Encrypt a file and put it where others can get it; returns what a message has to say.

        The server sees a random name, no type, and a padded length. Nothing can delete the upload
        again (XEP-0363 has no way to): if the message is never sent, `discard` the key, without
        which it is noise.

        Args:
            file: Its path, or what is in it; nothing of it is written to the disk in the clear.
            folder: A private one, for the ciphertext while it is sent.
            name: For the receiver; it goes inside the encrypted message.
            media_type: Likewise.
            seconds: Length of a voice message.
            expires: Unix seconds after which both ends delete it; a server that can is asked to.
            link: For somebody who takes bare links alone (XEP-0454).
            progress: Told the bytes sent.

        Raises:
            Unsupported: our server takes no files.
            UsageError: the file is larger than it takes.
            LocalError: the file cannot be read, or the ciphertext not be written.
            NetworkError: nobody answers, or the server refuses (`TransferFailed`).
            SecurityError: the server did not prove its name, or lies where none should.
            ProtocolError: what it says cannot be understood.
        """
        service = await self.find_service()
        # A folder of its own goes away with all that is in it, even when cancelled while sealing.
        with _private(folder) as inner:
            sealed: SealedFile = await in_thread(seal_file, file, Path(inner), link=link)
            try:
                slot = await self._slot(service, sealed.size, expires)
                await self._put(sealed, slot, progress)
            except BaseException:
                sealed.key.wipe()  # whatever got there can never be read
                raise
        return sealed.shared(
            str(slot.get), name=name, media_type=media_type, seconds=seconds, expires=expires
        )

    async def _slot(self, service: UploadService, size: int, expires: int) -> Slot:
        if service.most and size > service.most:
            raise UsageError(
                f"{service.jid} takes files of at most {service.most} bytes; this one has {size} "
                "when encrypted"
            )
        request = build_slot_request(
            upload_name(secrets.token_bytes(NAME_BYTES)),
            size,
            expires=expires if service.deletes else 0,
        )
        slot = parse_slot(await self._session.request(request, to=service.jid))
        # our server says so itself; what a peer says never counts here
        self._https.trust(slot.put)
        self._https.trust(slot.get)
        return slot

    async def _put(self, sealed: SealedFile, slot: Slot, progress: Progress | None) -> None:
        with sealed.path.open("rb") as source:
            await self._https.put(
                slot.put,
                size=sealed.size,
                read=source.read,
                fields={"Content-Type": MEDIA_TYPE, **slot.headers},
                sent=None if progress is None else lambda done: progress(done, sealed.size),
            )

    async def download(
        self,
        shared: SharedFile,
        target: Path,
        *,
        most: int = MOST_DOWNLOAD,
        progress: Progress | None = None,
    ) -> Path:
        """Get a file and decrypt it to `target`, which is there only once all of it is proved.

        The server the sender chose learns our address and when we fetch it: ask the person first.

        Args:
            shared: What the message said.
            target: The new file, in a private folder.
            most: Bytes of it that are taken.
            progress: Told the bytes of ciphertext got, and of how many; 0 for unknown.

        Raises:
            FileNotIntact: it is not what was described; nothing remains.
            ProtocolError: the description is unusable, or the server sends too much.
            NetworkError: nobody answers, or the server refuses (`TransferFailed`).
            SecurityError: the server did not prove its name, or lies in a private network.
            LocalError: `target` is there already, or the disk refuses.
        """
        with Opening(shared, target) as opening:
            await self._get(shared, most, opening.write, progress)
            return await in_thread(opening.release)

    async def fetch(
        self,
        shared: SharedFile,
        *,
        most: int = MOST_FETCH,
        progress: Progress | None = None,
    ) -> bytes:
        """Get a file into memory, proved, without a trace on the disk: for voice messages.

        Raises: as `download`, but for the disk.
        """
        opener, plain = Opener(shared), bytearray()
        await self._get(shared, most, lambda sealed: plain.extend(opener.update(sealed)), progress)
        plain += opener.finish()
        return bytes(plain)

    async def _get(
        self,
        shared: SharedFile,
        most: int,
        take: Callable[[bytes], None],
        progress: Progress | None,
    ) -> None:
        if shared.size is not None and shared.size > most:
            raise ProtocolError(f"a file of {shared.size} bytes, where {most} were allowed")
        where, limit = parse_web_address(shared.url), most_sealed(shared, most)
        try:
            _ = await self._https.get(where, most=limit, take=take, got=progress)
        except PolicyRefused:  # before anything was sent
            if not await self._is_own(where):
                raise
            _ = await self._https.get(where, most=limit, take=take, got=progress)

    async def _is_own(self, where: WebAddress) -> bool:
        """Whether a private place is our own server's: it shows us by where it would put a file."""
        if not self._shown:
            self._shown = True
            try:
                _ = await self._slot(await self.find_service(), 1, 0)
            except (NetworkError, ProtocolError, UsageError):
                return False
        return self._https.trusts(where)


@contextlib.contextmanager
def _private(folder: Path) -> Iterator[str]:
    try:
        inner = tempfile.TemporaryDirectory(dir=folder, suffix=SEALING)
    except OSError as e:
        raise LocalError(f"cannot write to {folder}: {e.strerror}") from e
    with inner as path:
        yield path
