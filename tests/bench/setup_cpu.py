"""CPU milliseconds to set up the media of a call, both ends: DTLS and the identity handshake.

Fresh certificates are part of it, key stores and signalling are not; the link is simulated. (A
peer's figure has its own ICE on loopback and its SDP in it, and no identity handshake.)
"""

from __future__ import annotations

import statistics
import time

from tests.bench.measure import answer
from tests.pairs.keys.link import Link, Person, make_pair


def main() -> None:
    alice, bob = Person.named("alice"), Person.named("bob")
    taken = []
    for number in range(25):
        begun = time.process_time()
        ends = make_pair(alice, bob, caller_is_client=number % 2 == 0)
        Link(*ends).run()
        taken.append(time.process_time() - begun)
        assert all(end.failed is None and end.complete for end in ends)
    answer(stack="securecall", setup_cpu_ms=1e3 * statistics.median(taken[5:]))


main()
