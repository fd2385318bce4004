"""Packets of sound: RTP, RTCP, and the two layers of encryption around them."""
