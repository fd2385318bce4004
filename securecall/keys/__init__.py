"""Who someone is: identities, statements, trust, and the handshake that proves them."""
