"""Other projects' SIPp scenarios: read where they lie, and rewritten in memory for TLS and DTLS.

`Scenario.prepared` changes what every scenario written for UDP and plain RTP needs changed, and
nothing of what is said when:

* Each m-line of audio or video without keys becomes DTLS-SRTP, with a fingerprint; a call with
  plain RTP is refused by us before the SIP of the scenario begins to matter.
* A message without Content-Length gets one: it goes over a stream (RFC 3261 18.3).
* A pause lasts a fifth of a second at most, one at the end nothing; sound is not played.
* A 100 may come before the first answer to an INVITE, as it always may (RFC 3261 17.2.1).
* Variables that are set and not read are declared, so that SIPp loads the file.

Everything else a scenario needs is an `Edit` with a reason, in the tables of `sipp_cases`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

DIGEST: Final = bytes(range(32)).hex(":").upper()
_LONGEST_PAUSE: Final = 200  # milliseconds
_COMMENT: Final = re.compile(r"<!--.*?-->", re.S)
_STEP: Final = re.compile(
    r"<(send|recv|pause|nop|label|sendCmd|recvCmd)\b"
    r"((?:[^>\"]|\"(?:\\.|[^\"])*\")*?)(?:/>|>(.*?)</\1>)",
    re.S,
)
_ATTRIBUTE: Final = re.compile(r"(\w+)\s*=\s*\"([^\"]*)\"")
_CDATA: Final = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_SOUND: Final = re.compile(r"<exec\s+(?:play_pcap_\w+|rtp_stream|rtp_echo|play_dtmf)[^>]*/>")
_MEDIA_LINE: Final = re.compile(r"m=(audio|video) (\S+) RTP/AVPF?( .*)")


@dataclass(frozen=True)
class Step:
    """One element of a scenario.

    Attributes:
        kind: "send", "recv", "pause"...
        attributes: As they stood.
        actions: The `<action>` inside, "" without one.
        message: What is sent, its lines without their indentation; empty for other kinds.
    """

    kind: str
    attributes: dict[str, str] = field(default_factory=dict)
    actions: str = ""
    message: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The method sent or waited for, "" if it is a response or no message at all."""
        if self.kind == "recv":
            return self.attributes.get("request", "")
        word = self.message[0].split(" ")[0] if self.message else ""
        return "" if word.startswith("SIP/") else word

    @property
    def status(self) -> int:
        """The status sent or waited for, 0 if it is a request or no message at all."""
        if self.kind == "recv":
            return int(self.attributes.get("response", "0"))
        words = self.message[0].split(" ") if self.message else []
        return int(words[1]) if len(words) > 1 and words[0].startswith("SIP/") else 0

    @property
    def invites(self) -> bool:
        """SIPp sends an INVITE."""
        return self.kind == "send" and self.method == "INVITE"

    @property
    def optional(self) -> bool:
        """SIPp goes on without it."""
        return self.attributes.get("optional", "false") != "false"

    @property
    def body(self) -> tuple[str, ...]:
        """The lines after the first empty one."""
        end = self.message.index("") if "" in self.message else len(self.message)
        return self.message[end + 1 :]

    def field(self, name: str) -> str:
        """A header field's value, "" if it is not there."""
        for line in self.message:
            key, colon, value = line.partition(":")
            if colon and key.strip().lower() == name:
                return value.strip()
        return ""

    def written(self) -> str:
        """The element as SIPp reads it."""
        attributes = "".join(f' {name}="{value}"' for name, value in self.attributes.items())
        message = "<![CDATA[\n" + "\n".join(self.message) + "\n]]>" if self.message else ""
        return f"<{self.kind}{attributes}>{message}{self.actions}</{self.kind}>"


Edit = Callable[["Scenario"], "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A scenario file.

    Attributes:
        name: Its path in the archive.
        steps: In order.
        extras: Declarations of variables.
    """

    name: str
    steps: tuple[Step, ...]
    extras: str = ""

    @property
    def first(self) -> Step | None:
        """The first message."""
        return next((s for s in self.steps if s.kind in ("send", "recv")), None)

    @property
    def realms(self) -> tuple[str, ...]:
        """Realms in which it asks for a password."""
        return tuple(
            dict.fromkeys(
                found.lower()
                for step in self.steps
                for line in step.message
                if "authenticate:" in line.lower()
                for found in re.findall(r'realm="([^"]*)"', line)
            )
        )

    def changed(self, steps: list[Step]) -> Scenario:
        """The same with other steps."""
        return replace(self, steps=tuple(steps))

    def prepared(self, *, keyed: bool = True) -> Scenario:
        """Rewritten for DTLS-SRTP over a stream, see the module; `keyed` False leaves it plain."""
        steps: list[Step] = []
        in_ack = _answers_in_ack(self.steps)
        for i, step in enumerate(self.steps):
            before = steps[-1] if steps else None
            if before is not None and before.invites and step.kind == "recv" and step.status > 100:
                steps.append(Step("recv", {"response": "100", "optional": "true"}))
            message = step.message
            if message and keyed:
                message = _keyed(message, answer=bool(step.status) or i in in_ack)
            steps.append(
                replace(
                    step,
                    message=_streamed(message) if message else (),
                    attributes=_shortened(step),
                    actions=_SOUND.sub("", step.actions),
                )
            )
        while steps and steps[-1].kind == "pause":
            steps.pop()
        return self.changed(steps)

    def written(self) -> str:
        """The file for SIPp."""
        text = "\n".join(step.written() for step in self.steps)
        names = {
            name.strip()
            for found in re.findall(r'assign_to\s*=\s*"([^"]*)"', text)
            for name in found.split(",")
        }
        if names:
            text += f'\n<Reference variables="{",".join(sorted(names))}"/>'
        head = '<?xml version="1.0" encoding="ISO-8859-1"?>'
        return f'{head}\n<scenario name="x">\n{self.extras}\n{text}\n</scenario>\n'


def read(archive: Path) -> Iterator[Scenario]:
    """Every scenario of an archive, in order of name."""
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist()):
            if name.endswith(".xml"):
                yield parse(name, files.read(name).decode("latin-1"))


def parse(name: str, text: str) -> Scenario:
    """Take a file apart; by hand, since SIPp reads what no parser of XML would."""
    text = _COMMENT.sub("", text)
    steps = []
    for kind, attributes, inner in _STEP.findall(text):
        found = _CDATA.search(inner)
        lines = [line.strip() for line in found[1].strip().splitlines()] if found else []
        actions = "".join(re.findall(r"<action>.*?</action>", inner, re.S))
        steps.append(Step(kind, dict(_ATTRIBUTE.findall(attributes)), actions, tuple(lines)))
    extras = "".join(re.findall(r"<(?:Global|User)\b[^>]*/>", text))
    return Scenario(name, tuple(steps), extras)


def _answers_in_ack(steps: tuple[Step, ...]) -> set[int]:
    """Places of the ACKs that answer an offer of ours: their INVITE had none."""
    found, offered = set(), True
    for i, step in enumerate(steps):
        if step.invites:
            offered = any(line.startswith("m=") for line in step.body)
        elif step.method == "ACK" and not offered:
            found.add(i)
    return found


def _shortened(step: Step) -> dict[str, str]:
    if step.kind != "pause":
        return step.attributes
    given = step.attributes.get("milliseconds", "")
    short = min(int(given), _LONGEST_PAUSE) if given.isdigit() else _LONGEST_PAUSE
    kept = {k: v for k, v in step.attributes.items() if k in ("next", "test")}
    return kept | {"milliseconds": str(short)}


def _keyed(lines: tuple[str, ...], *, answer: bool) -> tuple[str, ...]:
    """Key every plain m-line by DTLS."""
    setup = "passive" if answer else "actpass"
    out: list[str] = []
    for line in lines:
        media = _MEDIA_LINE.fullmatch(line)
        if media is None:
            out.append(line)
            continue
        out.append(f"m={media[1]} {media[2]} UDP/TLS/RTP/SAVP{media[3]}")
        out += [f"a=fingerprint:sha-256 {DIGEST}", f"a=setup:{setup}", "a=rtcp-mux"]
    return tuple(_sorted_media(out))


def _sorted_media(lines: list[str]) -> list[str]:
    """Put a media section's c= and b= before its attributes, where they have to be."""
    out: list[str] = []
    for line in lines:
        if line[:2] in ("c=", "b=", "i=") and out and out[-1] == "a=rtcp-mux":
            out.insert(len(out) - 3, line)
        else:
            out.append(line)
    return out


def _streamed(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Say how long the body is."""
    end = lines.index("") if "" in lines else len(lines)
    heads = [line for line in lines[:end] if not line.lower().startswith("content-length")]
    return (*heads, "Content-Length: [len]", "", *lines[end + 1 :])
