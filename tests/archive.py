"""An archive of messages as a server keeps one, for tests of catching up with it (XEP-0313)."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement

from tests.around import AROUND
from tests.stanzas import stanza

MAM = "{urn:xmpp:mam:2}"
RSM = "{http://jabber.org/protocol/rsm}"


class Archive:
    """A server's archive: names and bodies, oldest first; forgets, lies and loses as told."""

    def __init__(self, count, *, page=100):
        self.messages = [(f"id{i}", f"text {i}") for i in range(count)]
        self.page = page
        self.lose = set()
        self.queries = []

    def answer(self, query):
        self.queries.append(query)
        rsm = query.find(f"{RSM}set")
        after, before = rsm.findtext(f"{RSM}after"), rsm.find(f"{RSM}before")
        most = min(int(rsm.findtext(f"{RSM}max")), self.page)
        found = self.messages
        if after:
            names = [name for name, _ in found]
            if after not in names:
                return None, None
            found = found[names.index(after) + 1 :]
        complete = len(found) <= most
        found = found[-most:] if before is not None else found[:most]
        fin = Element(f"{MAM}fin", {"complete": "true"} if complete else {})
        rsm = SubElement(fin, f"{RSM}set")
        if found:
            SubElement(rsm, f"{RSM}first").text = found[0][0]
            SubElement(rsm, f"{RSM}last").text = found[-1][0]
        queryid = query.get("queryid")
        return [result(name, body, queryid) for name, body in found if name not in self.lose], fin


def result(name, body, queryid, sender=""):
    told = f"from='{sender}'" if sender else ""
    return stanza(
        f"<message to='romeo@montague.example/home' {told}>"
        f"<result xmlns='urn:xmpp:mam:2' queryid='{queryid}' id='{name}'>"
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2001-09-08T00:00:00Z'/>"
        "<message xmlns='jabber:client' from='juliet@capulet.example/b' "
        f"to='romeo@montague.example' type='chat'><body>{body}</body></message>"
        "</forwarded></result></message>"
    )


def around(catchup):
    return replace(AROUND, queries={catchup.queryid: catchup.archive})
