"""One XMPP account at work: what comes is kept before it is acknowledged, what goes before it is sent.

So nothing is lost by a crash: a server repeats what was not acknowledged, and we repeat what it did
not take. Doubles are told by their names.
"""

from __future__ import annotations

import logging
from typing import Final

MOST_AT_ONCE: Final = 64  # stanzas in one transaction
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)  # after the disk refused
log = logging.getLogger(__name__)


class Mail:
    """Takes in what a session delivers and sends what is written, each through the history."""
