"""CVE-2019-1000021: what was meant for nobody is published where everybody reads it.

The control publishes with the options, as the XEP says, and trusts the server to heed them.
"""

from __future__ import annotations

import asyncio
from xml.etree.ElementTree import Element

import pytest

from securecall.errors import SecurityError, XmppRefused
from securecall.xmpp.forms import FORM, Form, build_form, parse_form
from securecall.xmpp.nodes import Nodes
from securecall.xmpp.pubsub import OWNER, PUBSUB, Access, NodeOptions, build_publish
from tests.fake_session import FakeSession

pytestmark = pytest.mark.attack

NODE, SECRET = "private", "{p}secret"
PRIVATE = NodeOptions(access=Access.WHITELIST)


class Server:
    """A server with one node; each of its weaknesses can be switched on."""

    def __init__(
        self, *, access: str = "", heeds_options: bool = False, heeds_owner: bool = True
    ) -> None:
        self.access = access  # "" as long as there is no node
        self.heeds_options = heeds_options
        self.heeds_owner = heeds_owner
        self.public: list[str] = []
        self.session = FakeSession()
        answers = self.session.answers
        answers["set", f"{{{PUBSUB}}}pubsub"] = self._set
        answers["get", f"{{{OWNER}}}pubsub"] = self._configuration
        answers["set", f"{{{OWNER}}}pubsub"] = self._configure

    def _set(self, payload: Element, to: str) -> None:
        wanted = self._wanted(payload)
        if payload[0].tag.endswith("}create"):
            self.access = wanted if self.heeds_owner else "open"
            return
        if self.heeds_options and self.access and wanted != self.access:
            raise XmppRefused("conflict")
        self.access = self.access or (wanted if self.heeds_options else "open")
        if self.access == "open":
            self.public.append(payload[0][0][0].tag)

    def _configuration(self, payload: Element, to: str) -> Element:
        if not self.access:
            raise XmppRefused("item-not-found")
        answer = Element(f"{{{OWNER}}}pubsub")
        configure = Element(f"{{{OWNER}}}configure", {"node": NODE})
        answer.append(configure)
        configure.append(
            build_form(Form(kind="form", fields={"pubsub#access_model": (self.access,)}))
        )
        return answer

    def _configure(self, payload: Element, to: str) -> None:
        if self.heeds_owner:
            self.access = self._wanted(payload)

    def _wanted(self, payload: Element) -> str:
        form = next(payload.iter(FORM), None)
        return (parse_form(form).first("pubsub#access_model") if form is not None else "") or ""


def publish(server: Server, nodes: Nodes | None = None) -> None:
    nodes = nodes or Nodes(server.session)
    asyncio.run(nodes.publish(NODE, "current", Element(SECRET), PRIVATE))


@pytest.mark.parametrize("access", ["", "open"])
def test_control_options_alone_do_not_help_where_they_are_passed_over(access):
    server = Server(access=access)
    payload = build_publish(NODE, "current", Element(SECRET), PRIVATE)
    asyncio.run(server.session.request(payload, kind="set"))
    assert server.public == [SECRET]


@pytest.mark.parametrize("heeds_options", [True, False])
@pytest.mark.parametrize("access", ["", "open", "presence", "whitelist"])
def test_the_node_is_private_before_anything_is_in_it(access, heeds_options):
    server = Server(access=access, heeds_options=heeds_options)
    publish(server)
    assert (server.access, server.public) == ("whitelist", [])


@pytest.mark.parametrize("access", ["", "open"])
def test_a_server_that_only_says_so_gets_nothing(access):
    server = Server(access=access, heeds_owner=False)
    with pytest.raises(SecurityError):
        publish(server)
    assert server.public == []


def test_another_client_that_opens_the_node_is_noticed():
    server = Server(heeds_options=True)
    nodes = Nodes(server.session)
    publish(server, nodes)
    server.access = "open"
    publish(server, nodes)
    assert (server.access, server.public) == ("whitelist", [])


@pytest.mark.parametrize("access", ["open", "whitelist"])
@pytest.mark.parametrize("heeds_options", [True, False])
def test_a_node_that_another_client_makes_just_now_is_private_before_anything_is_in_it(
    access, heeds_options
):
    server = Server(heeds_options=heeds_options)
    ask = server._configuration

    def ask_first(payload: Element, to: str) -> Element:
        try:
            return ask(payload, to)
        finally:
            server.access = server.access or access

    def make(payload: Element, to: str) -> None:
        if payload[0].tag.endswith("}create") and server.access:
            raise XmppRefused("conflict")
        server._set(payload, to)

    server.session.answers["get", f"{{{OWNER}}}pubsub"] = ask_first
    server.session.answers["set", f"{{{PUBSUB}}}pubsub"] = make
    publish(server)
    assert (server.access, server.public) == ("whitelist", [])
