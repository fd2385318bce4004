"""An INVITE as it arrives behind one proxy: 1.9 kB, with the SDP of a browser-like offer."""

from __future__ import annotations

SDP = (
    "\r\n".join(
        [
            "v=0",
            "o=- 3912000000 1 IN IP4 192.0.2.44",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            "m=audio 50004 UDP/TLS/RTP/SAVPF 96 9 0 8 101",
            "c=IN IP4 192.0.2.44",
            "a=mid:0",
            "a=sendrecv",
            "a=rtcp-mux",
            "a=ptime:20",
            "a=rtpmap:96 opus/48000/2",
            "a=fmtp:96 minptime=10;useinbandfec=1",
            "a=rtpmap:9 G722/8000",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=ice-ufrag:q7Zd",
            "a=ice-pwd:sX2f9yXk0wq7QzX1c0T8mB4e",
            "a=setup:actpass",
            "a=fingerprint:sha-256 " + ":".join(f"{(i * 37 + 11) % 256:02X}" for i in range(32)),
            "a=candidate:1 1 udp 2130706431 192.0.2.44 50004 typ host",
            "a=candidate:2 1 udp 2130706431 2001:db8::2c 50006 typ host",
            "a=candidate:3 1 udp 1694498815 198.51.100.9 61002 typ srflx raddr 192.0.2.44"
            " rport 50004",
            "a=candidate:4 1 udp 16777215 203.0.113.7 51000 typ relay raddr 198.51.100.9"
            " rport 61002",
            "a=end-of-candidates",
        ]
    )
    + "\r\n"
)
INVITE = (
    "\r\n".join(
        [
            "INVITE sip:bob@clinic.example SIP/2.0",
            "Via: SIP/2.0/TLS edge.clinic.example:5061;branch=z9hG4bK5f2b7d19c3;rport",
            "Via: SIP/2.0/TLS 192.0.2.44:49822;branch=z9hG4bK9a1e44c0d7;received=192.0.2.44"
            ";rport=49822",
            "Max-Forwards: 69",
            "Record-Route: <sip:edge.clinic.example;transport=tls;lr>",
            'From: "Alice Example" <sip:alice@clinic.example>;tag=7c1f0a93d2',
            'To: "Bob" <sip:bob@clinic.example>',
            "Call-ID: 2f6b0d5e8a9c4d17b3e2",
            "CSeq: 20817 INVITE",
            "Contact: <sip:alice@192.0.2.44:49822;transport=tls>"
            ';+sip.instance="<urn:uuid:0b1c2d3e-4f50-4162-8374-95a6b7c8d9ea>"',
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, REFER, NOTIFY, MESSAGE, PRACK",
            "Supported: replaces, timer, outbound, path, gruu, 100rel",
            "Session-Expires: 1800;refresher=uac",
            "Min-SE: 90",
            "User-Agent: bench",
            "Content-Type: application/sdp",
            f"Content-Length: {len(SDP)}",
            "",
            SDP,
        ]
    )
).encode()
