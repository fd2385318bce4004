"""Files sealed and opened on a disk."""

from __future__ import annotations

import os
import stat
import sys
import tracemalloc

import pytest

from securecall.chat.attachments import SEALING, Opening, seal_file, sweep
from securecall.chat.sealing import PIECE
from securecall.errors import FileNotIntact, LocalError, UsageError
from tests.unit.chat.shared_files import open_file

PLAIN = os.urandom(2 * PIECE + 77)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(PLAIN)
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "private"
    path.mkdir()
    return path


@pytest.mark.parametrize("link", [True, False])
def test_a_file_goes_there_and_back(source, folder, link):
    sealed = seal_file(source, folder, link=link)
    shared = sealed.shared("https://u.example/1", name="a.txt", media_type="text/plain", expires=9)
    target = folder / "got"
    assert open_file(sealed.path, shared, target).read_bytes() == PLAIN
    assert (shared.name, shared.media_type, shared.expires) == ("a.txt", "text/plain", 9)
    assert (shared.cipher == "") is link
    sealed.discard()
    sealed.discard()
    assert os.listdir(folder) == ["got"]


def test_bytes_are_sealed_without_a_file(folder):
    sealed = seal_file(b"spoken", folder)
    target = folder / "got"
    assert (
        open_file(sealed.path, sealed.shared("https://u.example/1"), target).read_bytes()
        == b"spoken"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_what_is_written_is_for_its_owner_alone(source, folder):
    sealed = seal_file(source, folder)
    got = open_file(sealed.path, sealed.shared("https://u.example/1"), folder / "got")
    assert {stat.S_IMODE(p.stat().st_mode) for p in (sealed.path, got)} == {0o600}


def test_neither_key_nor_address_are_in_a_repr(folder):
    sealed = seal_file(b"x", folder)
    shared = sealed.shared("https://u.example/secret", name="diagnosis.pdf")
    text = repr(sealed) + repr(shared)
    assert sealed.key.reveal().hex() not in text
    assert repr(sealed.iv) not in text
    assert "secret" not in text.lower().replace("secret(...)", "")
    assert "diagnosis" not in text


def test_a_failure_leaves_nothing(source, folder):
    sealed = seal_file(source, folder)
    shared = sealed.shared("https://u.example/1")
    data = bytearray(sealed.path.read_bytes())
    data[-1] ^= 1
    sealed.path.write_bytes(data)
    before = os.listdir(folder)
    with pytest.raises(FileNotIntact):
        open_file(sealed.path, shared, folder / "got")
    assert os.listdir(folder) == before


def test_nothing_is_there_before_everything_is_proved(source, folder):
    sealed = seal_file(source, folder)
    data = sealed.path.read_bytes()
    sealed.discard()
    with Opening(sealed.shared("https://u.example/1"), folder / "got") as opening:
        opening.write(data)
        assert not (folder / "got").exists()
        opening.release()
        assert (folder / "got").read_bytes() == PLAIN
    assert os.listdir(folder) == ["got"]


def test_given_up_after_its_release_it_is_gone_all_the_same(source, folder):
    sealed = seal_file(source, folder)
    data = sealed.path.read_bytes()
    sealed.discard()
    with pytest.raises(KeyboardInterrupt):
        with Opening(sealed.shared("https://u.example/1"), folder / "got") as opening:
            opening.write(data)
            opening.release()
            raise KeyboardInterrupt
    assert os.listdir(folder) == []


@pytest.mark.parametrize("early", [True, False])
def test_what_is_there_already_is_not_overwritten(source, folder, early):
    sealed = seal_file(source, folder)
    shared = sealed.shared("https://u.example/1")
    target = folder / "got"
    if early:
        target.write_bytes(b"mine")
        with pytest.raises(LocalError, match="already"):
            open_file(sealed.path, shared, target)
    else:
        with pytest.raises(LocalError, match="already"), Opening(shared, target) as opening:
            opening.write(sealed.path.read_bytes())
            target.write_bytes(b"mine")
            opening.release()
    assert target.read_bytes() == b"mine"


def test_a_link_that_leads_nowhere_counts_as_there(source, folder):
    sealed = seal_file(source, folder)
    (folder / "got").symlink_to(folder / "elsewhere")
    with pytest.raises(LocalError, match="already"):
        open_file(sealed.path, sealed.shared("https://u.example/1"), folder / "got")


def test_without_hard_links_it_is_renamed(source, folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "no links here")

    sealed = seal_file(source, folder)
    monkeypatch.setattr(os, "link", refuse)
    target = open_file(sealed.path, sealed.shared("https://u.example/1"), folder / "got")
    assert target.read_bytes() == PLAIN
    sealed.discard()
    assert os.listdir(folder) == ["got"]


def test_files_that_cannot_be_used_are_the_operators_matter(source, folder):
    sealed = seal_file(source, folder)
    shared = sealed.shared("https://u.example/1")
    with pytest.raises(LocalError):
        seal_file(folder / "absent", folder)
    with pytest.raises(LocalError):
        seal_file(source, folder / "absent")
    with pytest.raises(LocalError):
        open_file(sealed.path, shared, folder / "absent" / "got")


def test_a_file_of_more_than_4_gib_is_refused_before_it_is_read(folder, tmp_path):
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate((4 << 30) + 1)  # a hole; takes no room
    with pytest.raises(UsageError, match="4 GiB"):
        seal_file(huge, folder)
    assert os.listdir(folder) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_leaves_nothing(source, folder, monkeypatch):
    real = os.fsync

    def full(descriptor):
        real(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalError, match="No space"):
        seal_file(source, folder)
    assert os.listdir(folder) == []


def test_a_large_file_is_never_in_memory(folder):
    size = 24 << 20
    source = folder / "large"
    with source.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        sealed = seal_file(source, folder)
        open_file(sealed.path, sealed.shared("https://u.example/1"), folder / "got")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (folder / "got").stat().st_size == size
    assert peak < 8 << 20


def test_what_a_crash_left_is_swept_away_and_nothing_else(source, folder):
    sealed = seal_file(source, folder)
    (folder / f"x{SEALING}").mkdir()
    (folder / f"x{SEALING}" / "inner").write_bytes(b"x")
    (folder / "mine.part").write_bytes(b"x")
    assert sealed.path.suffix == ".part"
    sweep(folder)
    assert os.listdir(folder) == ["mine.part"]
    (folder / f"{'0' * 32}.part").mkdir()
    with pytest.raises(LocalError):
        sweep(folder)
