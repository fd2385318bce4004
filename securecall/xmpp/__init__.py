"""XMPP: one stream to our server, and what is said over it."""
