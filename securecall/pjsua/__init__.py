"""A second SIP engine, PJSIP: it signals, keys and carries the sound itself; hop by hop at most."""
