"""Packets of sound and pictures: RTP, RTCP, and the two layers of encryption around them."""
