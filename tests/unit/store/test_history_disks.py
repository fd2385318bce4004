"""The history on disks that really fail: a small one that fills up, one that is read-only, and a
kernel that refuses the n-th write, sync or cut for every n."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from securecall.errors import LocalError
from tests.forge_history import JULIET, message, open_history, parcel
from tests.interop.children import need
from tests.paths import PROJECT

pytestmark = [pytest.mark.soak, pytest.mark.skipif(os.name != "posix", reason="POSIX only")]

# Writes until it is told not to, and says what was acknowledged and how it ended. Whatever was
# refused must have changed nothing, and the object must still answer, or say that it is closed.
WRITER = """
import sys; from pathlib import Path
from securecall.errors import LocalError, StoreCorrupt
from tests.forge_history import *
def number(): return len(history.after(0, count=10**6))
try: history = open_history(Path(sys.argv[1]))
except LocalError as e: print("refused", type(e).__name__, e); sys.exit()
kept = number()
for place in range(int(sys.argv[2])):
    try:
        with history.transaction():
            history.add(message("x" * 4000, id="i"))
            history.set_value("ratchet", b"%d" % (kept + 1))
            history.post(parcel("p", stanza=bytes(3000)))
        kept += 1
    except StoreCorrupt as e: print("damage", e); sys.exit(1)
    except LocalError as e:
        print("refused", type(e).__name__, e)
        try: assert number() == kept and int(history.value("ratchet") or 0) == kept
        except LocalError as e: assert "closed" in str(e), e; break
    print("kept", kept, flush=True)
    if kept and place % 7 == 6:
        try: history.remove(history.messages(JULIET, count=1)[0].number); kept -= 1
        except LocalError as e: print("refused", e)
        try: history.set_value("ratchet", b"%d" % kept)
        except LocalError as e: print("refused", e); break
print("end", flush=True)
history.close()
"""


def write(folder, *before: str, count: int = 16) -> str:
    """Run the writer; returns what it said."""
    command = [*before, sys.executable, "-c", WRITER, str(folder), str(count)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert "damage" not in done.stdout
    return done.stdout


def require_whole(folder, said: str) -> None:
    """What was acknowledged last is there, and goes on."""
    history = open_history(folder)
    ends = [int(line.split()[1]) for line in said.splitlines() if line.startswith("kept")]
    shown = history.after(0, count=10**6)
    assert not any(each.unreadable for each in shown)
    if ends:
        assert len(shown) >= ends[-1] - 1  # one may have been removed since
    history.post(parcel("again"))
    assert history.add(message("again")).number > max([0, *(each.number for each in shown)])
    history.close()


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "ftruncate"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_kernel_that_refuses_the_nth_call_for_every_n(tmp_path, call, error):
    strace = need("strace", "strace")
    refused = 0
    for place in range(1, 400):
        folder = tmp_path / str(place)
        folder.mkdir()
        inject = f"inject={call}:error={error}:when={place}"
        said = write(
            folder,
            strace,
            "-f",
            "-qq",
            "-o",
            str(tmp_path / "trace"),
            "-e",
            f"trace={call}",
            "-e",
            inject,
            count=8,
        )
        reached = "INJECTED" in (tmp_path / "trace").read_text()
        refused += "refused" in said
        require_whole(folder, said)
        shutil.rmtree(folder)
        if not reached:
            break
    else:
        pytest.fail("it never came to the end")
    assert refused or call in ("fsync", "ftruncate")


def require_mounts(folder) -> None:
    """Skip where nothing can be mounted in a namespace of its own."""
    command = [need("unshare", "util-linux"), "-m", need("mount", "mount"), "-t", "tmpfs"]
    command += ["-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")


@pytest.mark.parametrize("size", [64, 128, 192, 256, 512])
def test_a_small_disk_fills_up_and_everything_acknowledged_stays(tmp_path, size):
    folder, kept = tmp_path / "small", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    require_mounts(folder)
    script = (
        f'mount -t tmpfs -o size={size}k tmpfs "$1" && shift && "$@"; cp {folder}/* {kept}/ || true'
    )
    said = write(folder, "unshare", "-m", "sh", "-c", script, "sh", str(folder), count=200)
    assert "refused" in said
    if list(kept.iterdir()):
        require_whole(kept, said)


def test_a_read_only_disk_is_a_local_error(tmp_path):
    folder = tmp_path / "alice"
    folder.mkdir()
    require_mounts(tmp_path)
    history = open_history(folder)
    history.add(message("a"))
    history.close()
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && "$@"'
    said = write(folder, "unshare", "-m", "sh", "-c", script, "sh", str(folder))
    assert said.startswith("refused LocalError")
    history = open_history(folder)
    assert len(history.messages(JULIET)) == 1
    history.close()


def test_a_folder_that_is_none_is_a_local_error(tmp_path):
    with pytest.raises(LocalError):
        open_history(tmp_path / "nowhere")
