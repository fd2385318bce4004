"""Ways for bytes: TLS, DTLS, UDP, ICE."""
