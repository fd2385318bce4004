"""Files of ours on the disk: private from the first moment, and let go again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from securecall.errors import LocalError
from securecall.store.disk import connect, make_private, sync_folder

DESCRIPTORS = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX file modes")


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="no /proc: nothing to count")
def test_no_descriptor_is_left_open(tmp_path):
    before = len(list(DESCRIPTORS.iterdir()))
    for number in range(5):
        make_private("the store", tmp_path / f"file{number}")
        sync_folder("the store", tmp_path)
    assert len(list(DESCRIPTORS.iterdir())) == before


def test_a_new_file_is_the_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make_private("the store", tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    make_private("the store", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_folder_that_is_gone_is_named(tmp_path):
    for use in (
        lambda: sync_folder("the store", tmp_path / "gone"),
        lambda: make_private("the store", tmp_path / "gone" / "file"),
    ):
        with pytest.raises(LocalError, match="the store"):
            use()


@pytest.mark.parametrize("posix", [True, False])
def test_modes_and_folders_are_seen_to_where_there_are_such(tmp_path, monkeypatch, posix):
    # Windows opens no folder as a file; its `chmod` knows no owner.
    file = tmp_path / "file"
    file.touch(mode=0o644)
    if not posix:
        monkeypatch.setattr("securecall.store.disk.os", SimpleNamespace(name="nt"))
        sync_folder("the store", tmp_path)
    connect("the store", file, ()).close()
    assert file.stat().st_mode & 0o777 == (0o600 if posix else 0o644)
    if posix:
        with pytest.raises(LocalError):
            sync_folder("the store", tmp_path / "gone")
