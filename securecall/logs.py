"""Loggers of ours: people pseudonymous, keys cut short; loggers of libraries kept to warnings.

A log is read by more people than a call is heard by. So an address stands in it as a name that
lasts as long as the process; of keys, fingerprints and credentials nothing stands in it that could
be used. What is logged holds no secret to begin with: this is the second lock.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from typing import Final

_RUN: Final = secrets.token_bytes(16)
_USER: Final = r"[^\s<>\"'@:;,()\[\]/]+"
_RULES: Final = (
    (re.compile(r"((?:ice-)?(?:ufrag|pwd)\W{1,3}|inline:)[^\s;,'\"]+", re.IGNORECASE), r"\1…"),
    (re.compile(r"\b([0-9A-Fa-f]{2}:[0-9A-Fa-f]{2})(?::[0-9A-Fa-f]{2}){6,}"), r"\1:…"),
)
_PERSON: Final = re.compile(
    rf"\bkey:[0-9a-f]{{8,}}|\btel:\+?[0-9]+|{_USER}@[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?"
)
_LONG: Final = re.compile(r"(?<![A-Za-z0-9+/_\-])([A-Za-z0-9+/_\-]{4})[A-Za-z0-9+/_\-]{28,}={0,2}")
_WORDY: Final = re.compile(r"[a-z/_.\-]+")  # a path or a name of ours, not a key


class _Redaction(logging.Filter):
    """Rewrites each record before any handler sees it."""

    def __init__(self, least: int = logging.NOTSET) -> None:
        super().__init__()
        self._least = least

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass, rewritten, unless it is of a library and says too much."""
        if STATE.dangerous:
            return True
        if record.levelno < self._least:
            return False
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text, record.exc_info = redacted(text), None
        return True


class _State:
    def __init__(self) -> None:
        self.dangerous = False


STATE: Final = _State()
_OURS: Final = _Redaction()
_LIBRARIES: Final = _Redaction(logging.WARNING)


def logger(name: str) -> logging.Logger:
    """The logger of one of our modules."""
    return _with(name, _OURS)


def quiet(*names: str) -> None:
    """Keep loggers of a library to warnings, whatever level an application sets."""
    for name in names:
        _ = _with(name, _LIBRARIES)


def danger_log() -> None:
    """Log everything as it is: who talks with whom, and what libraries say of every packet.

    For the whole process, and for good; never where somebody else's calls are made.
    """
    STATE.dangerous = True


def redacted(text: str) -> str:
    """Put names of this run in place of people, and cut what could be a key."""
    for pattern, put in _RULES:
        text = pattern.sub(put, text)
    text = _PERSON.sub(_pseudonym, text)
    return _LONG.sub(lambda m: m[0] if _WORDY.fullmatch(m[0]) else f"{m[1]}…", text)


def _pseudonym(found: re.Match[str]) -> str:
    name = hmac.digest(_RUN, found[0].lower().encode(), "sha256").hex()
    return f"person-{name[:8]}"


def _with(name: str, rule: _Redaction) -> logging.Logger:
    found = logging.getLogger(name)
    found.addFilter(rule)  # which is there once, however often it is added
    return found


quiet("omemo.core", "omemo.core.identity_key_pair", "websockets.client", "websockets.server")
