"""Begins stream management on a stream, or takes it over from a lost one (XEP-0198 3, 5)."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import ProtocolError
from securecall.logs import logger
from securecall.xmpp.management import NAMESPACE, Management, Taken
from securecall.xmpp.stream import Stream
from securecall.xmpp.xml import CLIENT, serialise

_SECONDS: Final = 600  # asked for; the server decides
_MOST_EARLY: Final = 256

log = logger(__name__)


def tag(name: str) -> str:
    """The tag of an element of stream management."""
    return f"{{{NAMESPACE}}}{name}"


def build_counter(name: str, h: int | None = None) -> bytes:
    """An <r/>, or an <a/> with what we took."""
    return serialise(Element(tag(name), {} if h is None else {"h": str(h)}))


def call(taken: tuple[Taken, ...]) -> None:
    """Tell whoever waits for it that the server took their stanzas."""
    for one in taken:
        try:
            one()
        except Exception:  # the outermost loop of whoever asked to be told
            log.exception("a handler failed")


async def enable(found: Stream) -> tuple[Management, list[Element]]:
    """Begin to count, if the server can.

    Returns:
        The counters, and what came before they began.

    Raises:
        ConnectFailed, ProtocolError, XmppRefused: as `Stream.ask`.
    """
    early: list[Element] = []
    if tag("sm") not in found.features:
        return Management(counted=False), early
    answer = await found.ask(Element(tag("enable"), resume="true", max=str(_SECONDS)))
    while answer.tag.startswith(f"{{{CLIENT}}}") and len(early) < _MOST_EARLY:
        early.append(answer)  # not counted (XEP-0198 4)
        answer = await found.next()
    if answer.tag != tag("enabled"):
        return Management(counted=False), early
    resumable = answer.get("resume", "") in ("true", "1")
    return Management(
        resume_id=answer.get("id", "") if resumable else "",
        location=answer.get("location", "") if resumable else "",
    ), early


async def resume(found: Stream, kept: Management) -> bool:
    """Go on where the last connection ended; False if the server does not know the session.

    Before what it had not taken comes a request for its counter. The answer shows that it reads:
    Prosody 0.12 goes on in the middle of the stanza that a lost connection left unfinished, and so
    takes nothing any more, though it goes on to talk (decision 0092).

    Raises:
        ConnectFailed, ProtocolError, XmppRefused: as `Stream.ask`.
    """
    if not kept.resume_id or tag("sm") not in found.features:
        return False
    h = str(kept.resuming())
    answer = await found.ask(Element(tag("resume"), previd=kept.resume_id, h=h))
    resumed = answer.tag == tag("resumed") and answer.get("previd") == kept.resume_id
    if not resumed and answer.tag != tag("failed"):
        raise ProtocolError("the server does not answer the resumption", rule="XEP-0198 5")
    try:
        if resumed or answer.get("h") is not None:
            call(kept.receive_ack(answer.get("h")))
    except ProtocolError:
        kept.resume_id = ""  # it would be the same the next time
        raise
    if resumed:
        found.send(build_counter("r"))
        for data in kept.sending_again():
            found.send(data)
    return resumed
