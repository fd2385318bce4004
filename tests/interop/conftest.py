"""Servers and phones for the tests here; each skips by naming the package that is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from securecall.secret import Secret
from securecall.testing.daemons import Turn, XmppOptions, start_ejabberd, start_prosody
from tests.interop import authority, baresip, kamailio, own_network, xmpp_servers

HERE = Path(__file__).parent
# a relay that is told of; there is none
RELAY = XmppOptions(turn=Turn("127.0.0.1", 3478, Secret("shared with the relay")))

# Begun first, that nobody waits for one of them alone at the end: each takes a minute or more.
LONG = ("test_linphone.py", "test_networks.py", "test_chat.py", "test_chat_cuts.py")
SECONDS = 180  # a hang guard: a server that starts on a busy machine may need the half of it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, and be more patient than with tests that ask nobody else."""
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        if item.path.parent == HERE and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> authority.Certificates:
    """A throw-away authority and a server certificate it signed."""
    return authority.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, certificates: authority.Certificates
) -> Iterator[kamailio.Kamailio]:
    """One Kamailio for all tests; they keep apart by the users they register."""
    with kamailio.running(tmp_path_factory.mktemp("kamailio"), certificates) as running:
        yield running


@pytest.fixture(scope="session")
def prosody(
    tmp_path_factory: pytest.TempPathFactory, certificates: authority.Certificates
) -> Iterator[xmpp_servers.XmppServer]:
    """One Prosody for all tests; they keep apart by whom they sign in as."""
    folder = tmp_path_factory.mktemp("prosody")
    options = replace(RELAY, archive_database=True)
    with xmpp_servers.running(start_prosody, folder, certificates, options) as server:
        yield server


@pytest.fixture(scope="session")
def ejabberd(
    tmp_path_factory: pytest.TempPathFactory, certificates: authority.Certificates
) -> Iterator[xmpp_servers.XmppServer]:
    """One ejabberd for all tests; they keep apart by whom they sign in as."""
    folder = tmp_path_factory.mktemp("ejabberd")
    with xmpp_servers.running(start_ejabberd, folder, certificates, RELAY) as server:
        yield server


@pytest.fixture(params=["prosody", "ejabberd"])
def server(request: pytest.FixtureRequest) -> xmpp_servers.XmppServer:
    """Each of the two in turn."""
    running: xmpp_servers.XmppServer = request.getfixturevalue(request.param)
    return running


@pytest.fixture(params=[start_prosody, start_ejabberd], ids=["prosody", "ejabberd"])
def fresh_server(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: authority.Certificates
) -> Iterator[xmpp_servers.XmppServer]:
    """Each in turn, where nobody has published anything yet: no devices, no identities."""
    folder = tmp_path / "server"
    folder.mkdir()
    with xmpp_servers.running(request.param, folder, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def home(
    tmp_path_factory: pytest.TempPathFactory, certificates: authority.Certificates
) -> Iterator[xmpp_servers.XmppServer]:
    """A server that desktop programs and browsers find and trust; inside a namespace alone."""
    with own_network.xmpp_home(tmp_path_factory.mktemp("home"), certificates) as server:
        yield server


@pytest.fixture
def phone(tmp_path: Path, proxy: kamailio.Kamailio) -> Iterator[Callable[..., baresip.Baresip]]:
    """Start baresip phones: `phone("bob", encryption="dtls_srtp")`."""
    with ExitStack() as phones:

        def start(user: str, *, encryption: str, nat: str = "") -> baresip.Baresip:
            folder = tmp_path / f"baresip-{user}"
            folder.mkdir()
            return phones.enter_context(
                baresip.running(folder, user, proxy, encryption=encryption, nat=nat)
            )

        yield start
