from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from securecall.errors import ProtocolError
from securecall.rtp.sframe import (
    WINDOW,
    SframeError,
    SframeReceiver,
    SframeSender,
    build_header,
    parse_header,
)
from securecall.secret import Secret

KEY = Secret(b"k" * 32)
U64 = st.integers(0, 2**64 - 1)


@given(U64, U64, st.binary(max_size=5))
def test_headers_are_built_and_parsed_inversely(kid, counter, rest):
    header = build_header(kid, counter)
    assert parse_header(header + rest) == (kid, counter, len(header))


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_are_refused(data):
    try:
        kid, counter, size = parse_header(data)
    except ProtocolError:
        return
    assert size <= len(data)
    assert kid < 2**64
    assert counter < 2**64


@given(st.binary(max_size=120), st.data())
def test_one_changed_byte_is_enough_to_be_refused(payload, data):
    sender, receiver = SframeSender(KEY, 1), SframeReceiver()
    receiver.add_key(1, KEY)
    sealed = bytearray(sender.seal_rtp(payload, b"m"))
    place = data.draw(st.integers(1, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    try:
        receiver.open_rtp(bytes(sealed), b"m")
    except SframeError:
        assert receiver.opened == 0
    else:
        raise AssertionError("a changed packet opened")


class Window(RuleBasedStateMachine):
    """The receiver's window against a set of what came."""

    def __init__(self) -> None:
        super().__init__()
        self.sender, self.receiver = SframeSender(KEY, 0), SframeReceiver()
        self.receiver.add_key(0, KEY)
        self.sealed: list[bytes] = []
        self.came: set[int] = set()

    @rule(count=st.sampled_from([1, 2, 30, WINDOW - 1, WINDOW, 3 * WINDOW]))
    def send(self, count):
        self.sealed += [self.sender.seal(b"") for _ in range(count)]

    @rule(back=st.integers(1, WINDOW + 5), data=st.data())
    def deliver(self, back, data):
        if not self.sealed:
            return
        number = max(0, len(self.sealed) - back)
        if data.draw(st.booleans()) and self.came:
            number = max(0, max(self.came) - back)
        newest = max(self.came, default=-1)
        expected = number not in self.came and number > newest - WINDOW
        try:
            self.receiver.open(self.sealed[number])
        except SframeError:
            assert not expected
        else:
            assert expected
            self.came.add(number)

    @invariant()
    def opened_once_each(self):
        assert self.receiver.opened == len(self.came)


TestWindow = Window.TestCase
