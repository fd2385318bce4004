"""Keepers by others: SoftHSM as a token, GNOME's keyring as a Secret Service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import securecall as sc
from securecall.cli.main import run
from securecall.errors import LocalError, StoreCorrupt, UsageError, WrongPassphrase
from securecall.keys.identity import RootKey
from securecall.keys.signing import require_ed25519_signature
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import FILE, Store
from tests.forge_store import passphrase
from tests.paths import PROJECT

pytestmark = pytest.mark.interop
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
PIN = "567890"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """SoftHSM with an initialised token; its configuration counts for the whole process."""
    pytest.importorskip("pkcs11", reason="the extra pkcs11")
    found = next((Path(name) for name in MODULES if Path(name).exists()), None)
    tool = shutil.which("softhsm2-util")
    if found is None or tool is None:
        pytest.skip("SoftHSM is not installed: dev.py servers")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    for label in ("ours", "another"):
        subprocess.run(
            [
                tool,
                "--init-token",
                "--free",
                "--label",
                label,
                "--so-pin",
                "12345678",
                "--pin",
                PIN,
            ],
            check=True,
            capture_output=True,
        )
    return found


@pytest.fixture
def token(module):
    return sc.Token(module, label="ours", pin=sc.Secret(PIN))


@pytest.mark.parametrize("with_passphrase", [False, True])
def test_a_store_opens_with_its_token_alone(tmp_path, module, token, with_passphrase):
    words = passphrase() if with_passphrase else None
    store = Store.create(tmp_path / "a", words, keeper=token, cost=MINIMUM_COST)
    root = store.root.public
    store.close()
    store = Store.open(tmp_path / "a", words, keeper=token)
    assert store.root.public == root
    store.close()
    other = sc.Token(module, label="another", pin=sc.Secret(PIN))
    with pytest.raises(LocalError, match="holds no key"):
        Store.open(tmp_path / "a", words, keeper=other)
    with pytest.raises(WrongPassphrase, match="PIN"):
        Store.open(
            tmp_path / "a", words, keeper=sc.Token(module, label="ours", pin=sc.Secret("000000"))
        )
    with pytest.raises(LocalError, match="no token"):
        Store.open(tmp_path / "a", words, keeper=sc.Token(module, label="gone", pin=sc.Secret(PIN)))
    with pytest.raises(UsageError):
        Store.open(tmp_path / "a", passphrase())


def test_an_older_copy_of_the_file_is_noticed_by_the_token(tmp_path, token):
    Store.create(tmp_path / "a", None, keeper=token).close()
    old = (tmp_path / "a" / FILE).read_bytes()
    store = Store.open(tmp_path / "a", keeper=token)
    store.save_setting("x", b"y")
    store.close()
    (tmp_path / "a" / FILE).write_bytes(old)
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path / "a", keeper=token)


def test_a_token_that_is_left_behind_opens_nothing_any_more(tmp_path, token):
    store = Store.create(tmp_path / "a", None, keeper=token)
    old = (tmp_path / "a" / FILE).read_bytes()
    store.set_lock(sc.Lock(passphrase=passphrase(), cost=MINIMUM_COST))
    store.close()
    Store.open(tmp_path / "a", passphrase()).close()
    (tmp_path / "a" / FILE).write_bytes(old)
    with pytest.raises(LocalError):
        Store.open(tmp_path / "a", keeper=token)


def test_a_wrapped_key_that_was_altered_is_refused_by_the_token(token):
    note = token.keep(sc.Secret(bytes(range(32))))
    assert token.fetch(note) == sc.Secret(bytes(range(32)))
    for place in (8, 20, len(note) - 1):
        broken = bytearray(note)
        broken[place] ^= 1
        with pytest.raises(LocalError):
            token.fetch(bytes(broken))


def test_the_wrapping_key_cannot_be_taken_out(token):
    import pkcs11

    note = token.keep(sc.Secret(bytes(32)))
    with token._session() as session:
        (key,) = session.get_objects({pkcs11.Attribute.LABEL: f"securecall {note[:8].hex()}"})
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]


def test_a_root_key_in_the_token_signs_statements_and_has_no_seed(tmp_path, token):
    async def body():
        signer = token.make_root("identity of alice")
        with pytest.raises(UsageError, match="already"):
            token.make_root("identity of alice")
        require_ed25519_signature(signer.public, signer.sign(b"data"), b"data")
        home = tmp_path / "alice"
        Store.create(
            home, passphrase(), root=RootKey.from_signer(signer), cost=MINIMUM_COST
        ).close()
        async with sc.open(home, passphrase=passphrase(), root=signer) as alice:
            assert alice.contacts.statement  # parsed and verified by whoever gets it
            assert not alice.contacts.store.root.has_seed
            with pytest.raises(UsageError, match="token"):
                _ = alice.contacts.store.root.seed
            await alice.back_up(tmp_path / "saved", passphrase=passphrase())
        with pytest.raises(UsageError, match="token"):
            Store.open(home, passphrase())
        other = token.make_root("another")
        with pytest.raises(LocalError, match="another root key"):
            Store.open(home, passphrase(), root=other)
        how = {"backup_passphrase": passphrase(), "passphrase": passphrase(), "cost": MINIMUM_COST}
        with pytest.raises(UsageError, match="token"):
            sc.restore(tmp_path / "saved", tmp_path / "again", **how)
        with pytest.raises(LocalError, match="not the root key"):
            sc.restore(tmp_path / "saved", tmp_path / "again", root=other, **how)
        sc.restore(tmp_path / "saved", tmp_path / "again", root=signer, **how)
        again = Store.open(tmp_path / "again", passphrase(), root=signer)
        assert again.root.public == signer.public
        again.close()

    asyncio.run(body())


def test_a_call_between_identities_in_tokens_is_verified(tmp_path, token):
    async def body():
        people = []
        for name in ("carol", "dave"):
            home, signer = tmp_path / name, token.make_root(f"identity of {name}")
            root = RootKey.from_signer(signer)
            Store.create(home, None, keeper=token, root=root).close()
            people.append(sc.open(home, keeper=token, root=signer))
        async with people[0] as carol, people[1] as dave:
            ticket = await dave.ticket(host="127.0.0.1")
            async with carol.call(ticket, audio=sc.ToneSource(440)) as call:
                async with (await dave.next_call()).accept(audio=sc.ToneSource(620)):
                    state = await call.connected()
                    assert state.level >= sc.E2EE

    asyncio.run(body())


INSIDE = """
import sys
from pathlib import Path
import securecall as sc
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import Store
folder = Path(sys.argv[1])
ring = sc.SystemKeyring()
store = Store.create(folder, None, keeper=ring)
root = store.root.public
store.close()
store = Store.open(folder, keeper=sc.SystemKeyring())
assert store.root.public == root
note = store._rows.needs.note
assert ring.generation(note) == store.generation
store.set_lock(sc.Lock(passphrase=sc.Secret("words"), cost=MINIMUM_COST))
store.close()
try:
    ring.fetch(note)
except sc.LocalError:
    print("kept, opened, forgotten", type(ring._backend).__module__)
"""


def test_gnomes_keyring_keeps_the_key_of_a_store(tmp_path):
    pytest.importorskip("keyring", reason="the extra keyring")
    for program in ("dbus-run-session", "gnome-keyring-daemon"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: dev.py servers")
    script = (
        "printf words | gnome-keyring-daemon --unlock --components=secrets >/dev/null; "
        'exec "$0" -c "$1" "$2"'
    )
    for name in ("data", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", script, sys.executable, INSIDE, str(tmp_path / "a")],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "XDG_RUNTIME_DIR": str(tmp_path / "run"),
            "PYTHONPATH": str(PROJECT),
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "kept,",
        "opened,",
        "forgotten",
        "keyring.backends.SecretService",
    ]


def test_the_command_keeps_its_keys_in_a_token(tmp_path, module, capsys):
    (tmp_path / "pin").write_text(PIN + "\n")
    (tmp_path / "words").write_text("for the backup\n")
    token = ["--token", str(module), "ours", "--pin-file", str(tmp_path / "pin"), "--json"]
    root = ["--root-key", "identity of erin"]
    home = ["--home", str(tmp_path / "erin")]
    saved = [str(tmp_path / "saved"), "--backup-passphrase-file", str(tmp_path / "words")]

    def said(*words: str, code: int = 0) -> dict:
        assert run([*words]) == code
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    made = said("init", *home, *token, *root)
    assert made["created"]
    assert said("init", *home, *token, *root)["root"] == made["root"]
    assert said("contacts", *home, "--json", code=2)["kind"] == "UsageError"
    assert said("contacts", *home, *token, code=2)["kind"] == "UsageError"
    assert said("keys", "backup", *saved, *home, *token, *root)["root"] == made["root"]
    again = ["--home", str(tmp_path / "again")]
    assert said("keys", "restore", *saved, *again, *token, *root)["root"] == made["root"]
    words = ["--new-passphrase-file", str(tmp_path / "words")]
    locked = said("keys", "lock", "--under", "passphrase+token", *words, *again, *token, *root)
    assert (locked["passphrase"], locked["keeper"]) == (True, "token")
    opened = [*again, "--passphrase-file", str(tmp_path / "words"), *token, *root]
    assert said("contacts", *opened)["type"] == "nobody"
