"""Other people's servers for tests and the lab: Kamailio, Prosody and ejabberd."""

from securecall.testing.daemon import Daemon, Launch, Site, is_installed
from securecall.testing.ejabberd import start_ejabberd
from securecall.testing.kamailio import start_kamailio
from securecall.testing.prosody import start_prosody
from securecall.testing.xmpp_server import Turn, XmppOptions

__all__ = [
    "Daemon",
    "Launch",
    "Site",
    "Turn",
    "XmppOptions",
    "is_installed",
    "start_ejabberd",
    "start_kamailio",
    "start_prosody",
]
