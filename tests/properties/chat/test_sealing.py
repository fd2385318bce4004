"""Sealing and opening, whatever the file and however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.chat.file_name import MOST, shown_name
from securecall.chat.message import SharedFile
from securecall.chat.sealing import CBC_256, GCM_256, Opener, Sealer, padded
from securecall.errors import FileNotIntact
from securecall.secret import Secret
from tests.unit.chat.shared_files import cbc, describe, opened, seal

PIECES = st.lists(st.binary(max_size=100), max_size=12)
STEPS = st.integers(1, 200)


@given(PIECES, STEPS, st.booleans())
def test_any_cutting_is_the_same_as_none(pieces, step, pad):
    sealer = Sealer()
    sealed = b"".join(sealer.update(p) for p in pieces) + b"".join(sealer.finish(pad=pad))
    shared = describe(sealer)
    plain = b"".join(pieces)
    assert opened(sealed, shared, step=step) == opened(sealed, describe(sealer)) == plain


@given(st.binary(max_size=300), STEPS)
def test_any_cutting_of_cbc_is_the_same_as_none(plain, step):
    sealed, shared = cbc(plain)
    assert opened(sealed, shared, step=step) == plain


@given(st.binary(max_size=300), st.data(), STEPS, st.booleans())
def test_any_change_is_found(plain, data, step, pad):
    sealer, sealed = seal(plain, pad=pad)
    at = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytearray(sealed)
    changed[at] ^= data.draw(st.integers(1, 255))
    unsaid = {"sha256": b"", "cipher_sha256": b""} if data.draw(st.booleans()) else {}
    with pytest.raises(FileNotIntact):
        opened(bytes(changed), describe(sealer, **unsaid), step=step)


@given(st.binary(max_size=300), st.data(), STEPS)
def test_any_cut_or_growth_is_found(plain, data, step):
    sealer, sealed = seal(plain)
    other = data.draw(
        st.one_of(
            st.integers(0, len(sealed) - 1).map(lambda n: sealed[:n]),
            st.binary(min_size=1, max_size=50).map(lambda more: sealed + more),
        )
    )
    with pytest.raises(FileNotIntact):
        opened(other, describe(sealer, sha256=b"", cipher_sha256=b""), step=step)


@given(st.binary(max_size=500), STEPS, st.sampled_from([GCM_256, CBC_256, ""]))
def test_any_bytes_are_refused_for_one_reason(sealed, step, cipher):
    iv = bytes(16 if cipher == CBC_256 else 12)
    shared = SharedFile(
        url="", key=Secret(bytes(32)), iv=iv, cipher=cipher, sha256=bytes(32), size=5
    )
    opener = Opener(shared)
    with pytest.raises(FileNotIntact):
        for i in range(0, len(sealed), step):
            opener.update(sealed[i : i + step])
        opener.finish()


@given(st.integers(0, 1 << 33))
def test_padding_grows_by_little_and_stays(size):
    assert size <= padded(size) <= size * 1.12
    assert padded(padded(size)) == padded(size)


@given(st.text(max_size=400))
def test_any_name_can_be_shown(name):
    shown = shown_name(name)
    assert 0 < len(shown) <= MOST
    assert not set(shown) & set('<>:"/\\|?*\0\n')
    assert shown not in {".", ".."}
    assert shown[0] not in ".~- "
    assert shown[-1] not in ". "
    assert shown_name(shown) == shown
