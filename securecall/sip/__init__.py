"""SIP over TLS, as an adapter of the call model."""
