"""A service for rooms as XEP-0045 has it, small; and one that does what its owner should fear."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import XmppRefused
from securecall.xmpp.capabilities import DISCO, Identity, Info, build_info
from securecall.xmpp.forms import FORM, Form, build_form, parse_form
from securecall.xmpp.room_grammar import ADMIN, MUC, OWNER, USER
from tests.fake_session import FakeSession

FORM_TYPE = f"{MUC}#roomconfig"
DEFAULTS = {"membersonly": "0", "whois": "moderators", "publicroom": "1", "persistentroom": "0"}


class FakeRoom:
    """One room at a service, and the one person who is there in this process."""

    def __init__(self, jid: str, session: FakeSession, deliver: Callable[[Element], object]):
        self.jid = jid
        self.session = session
        self.deliver = deliver
        self.exists = False
        self.config = dict(DEFAULTS)
        self.affiliations: dict[str, str] = {}
        self.occupants: dict[str, str] = {}  # nick -> full JID
        self.taken: set[str] = set()
        self.inside = ""
        answers = session.answers
        answers["get", f"{{{DISCO}}}query"] = self._disco
        answers["get", f"{{{OWNER}}}query"] = self._form
        answers["set", f"{{{OWNER}}}query"] = self._configure
        answers["get", f"{{{ADMIN}}}query"] = self._list
        answers["set", f"{{{ADMIN}}}query"] = self._affiliate
        answers["get", "{urn:xmpp:ping}ping"] = self._ping
        session.send = self.receive

    # what clients say

    def receive(self, stanza: Element, *, taken=None) -> None:
        self.session.sent.append(stanza)
        if not stanza.tag.endswith("presence"):
            return
        nick = stanza.get("to", "").partition("/")[2]
        if stanza.get("type") == "unavailable":
            if self.inside:
                self.inside = ""
                self.say(nick, "unavailable", 110)
        elif stanza.find(f"{{{MUC}}}x") is not None:
            self._enter(nick)

    def _enter(self, nick: str) -> None:
        if nick in self.taken:
            self._error(nick, "conflict")
            return
        own = self.session.bare
        created = not self.exists
        if created:
            self.exists, self.affiliations[own] = True, "owner"
        if self.config["membersonly"] == "1" and self.affiliations.get(own, "none") == "none":
            self._error(nick, "registration-required")
            return
        for other, jid in self.occupants.items():
            self.say(other, jid=jid)
        self.inside = nick
        self.say(nick, "", 110, *((201,) if created else ()), jid=f"{own}/here")

    # what the service says

    def say(self, nick: str, kind: str = "", *codes: int, jid: str = "", **item: str) -> None:
        stanza = Element("{jabber:client}presence", {"from": f"{self.jid}/{nick}"})
        if kind:
            stanza.set("type", kind)
        bare = jid.partition("/")[0]
        x = SubElement(stanza, f"{{{USER}}}x")
        attributes = {"affiliation": self.affiliations.get(bare, "none"), "role": "participant"}
        if jid and self.config["whois"] == "anyone":
            attributes["jid"] = jid
        if self.config["whois"] == "anyone" and 110 in codes and not kind:
            codes = (*codes, 100)
        SubElement(x, f"{{{USER}}}item", attributes | item)
        for code in codes:
            SubElement(x, f"{{{USER}}}status", {"code": str(code)})
        self.deliver(stanza)

    def notice(self, *codes: int, **members: str) -> Element:
        message = Element("{jabber:client}message", {"from": self.jid, "type": "groupchat"})
        x = SubElement(message, f"{{{USER}}}x")
        for jid, affiliation in members.items():
            SubElement(x, f"{{{USER}}}item", {"jid": jid, "affiliation": affiliation})
        for code in codes:
            SubElement(x, f"{{{USER}}}status", {"code": str(code)})
        return message

    def _error(self, nick: str, condition: str) -> None:
        stanza = Element("{jabber:client}presence", {"from": f"{self.jid}/{nick}", "type": "error"})
        error = SubElement(stanza, "{jabber:client}error")
        SubElement(error, f"{{urn:ietf:params:xml:ns:xmpp-stanzas}}{condition}")
        self.deliver(stanza)

    def _disco(self, payload: Element, to: str) -> Element:
        if not self.exists:
            raise XmppRefused("item-not-found")
        features = {
            MUC,
            "muc_membersonly" if self.config["membersonly"] == "1" else "muc_open",
            "muc_nonanonymous" if self.config["whois"] == "anyone" else "muc_semianonymous",
            "muc_public" if self.config["publicroom"] == "1" else "muc_hidden",
        }
        return build_info(
            Info(identities=(Identity("conference", "text"),), features=frozenset(features))
        )

    def _form(self, payload: Element, to: str) -> Element:
        fields = {f"muc#roomconfig_{name}": (value,) for name, value in self.config.items()}
        query = Element(f"{{{OWNER}}}query")
        query.append(build_form(Form(kind="form", form_type=FORM_TYPE, fields=fields)))
        return query

    def _configure(self, payload: Element, to: str) -> None:
        form = payload.find(FORM)
        if form is None:
            self.exists, self.inside = False, ""
            return
        for name, values in parse_form(form).fields.items():
            self.config[name.removeprefix("muc#roomconfig_")] = values[0]

    def _list(self, payload: Element, to: str) -> Element:
        wanted = payload[0].get("affiliation", "")
        query = Element(f"{{{ADMIN}}}query")
        for jid, affiliation in self.affiliations.items():
            if affiliation == wanted:
                SubElement(query, f"{{{ADMIN}}}item", {"jid": jid, "affiliation": affiliation})
        return query

    def _affiliate(self, payload: Element, to: str) -> None:
        if self.affiliations.get(self.session.bare) not in ("owner", "admin"):
            raise XmppRefused("forbidden")
        self.affiliations[payload[0].get("jid", "")] = payload[0].get("affiliation", "")

    def _ping(self, payload: Element, to: str) -> None:
        if to != f"{self.jid}/{self.inside}":
            raise XmppRefused("not-acceptable")
