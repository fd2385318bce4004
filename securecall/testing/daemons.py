"""Other people's servers for tests and the lab: Kamailio, Prosody, ejabberd and coturn."""

from securecall.testing.coturn import RelayOptions, relays_of, rest_user, start_coturn
from securecall.testing.daemon import Daemon, Launch, Site, is_installed
from securecall.testing.ejabberd import start_ejabberd
from securecall.testing.kamailio import start_kamailio
from securecall.testing.prosody import start_prosody
from securecall.testing.xmpp_server import Turn, XmppOptions

__all__ = [
    "Daemon",
    "Launch",
    "RelayOptions",
    "Site",
    "Turn",
    "XmppOptions",
    "is_installed",
    "relays_of",
    "rest_user",
    "start_coturn",
    "start_ejabberd",
    "start_kamailio",
    "start_prosody",
]
