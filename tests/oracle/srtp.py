"""SRTP in plain `cryptography`, written from RFC 3711 and RFC 7714: shares no code with ours."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def aes_cm(key: bytes, iv: int, length: int) -> bytes:
    context = Cipher(algorithms.AES(key), modes.CTR(iv.to_bytes(16))).encryptor()
    return context.update(bytes(length))


def session_key(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """RFC 3711 4.3.1 with key derivation rate 0; a 96-bit salt is padded right (RFC 7714 11)."""
    salt = int.from_bytes(master_salt.ljust(14, b"\0"))
    return aes_cm(master_key, (salt ^ label << 48) << 16, length)


class Oracle:
    """One direction; indices are given, not guessed."""

    def __init__(self, key: bytes, salt: bytes, *, aead: bool) -> None:
        self.aead = aead
        size = len(key)
        salt_size = len(salt)
        self.rtp = tuple(
            session_key(key, salt, n, s) for n, s in ((0, size), (1, 20), (2, salt_size))
        )
        self.rtcp = tuple(
            session_key(key, salt, n, s) for n, s in ((3, size), (4, 20), (5, salt_size))
        )

    def protect(self, packet: bytes, roc: int = 0) -> bytes:
        if self.aead:
            return gcm_rtp(self.rtp[0], self.rtp[2], packet, roc)
        key, auth, salt = self.rtp
        head = header_length(packet)
        index = roc << 16 | int.from_bytes(packet[2:4])
        body = cm(key, salt, packet[8:12], index, packet[head:])
        out = packet[:head] + body
        return out + hmac.digest(auth, out + roc.to_bytes(4), "sha1")[:10]

    def protect_rtcp(self, packet: bytes, index: int) -> bytes:
        word = (0x80000000 | index).to_bytes(4)
        if self.aead:
            return gcm_rtcp(self.rtcp[0], self.rtcp[2], packet, index)
        key, auth, salt = self.rtcp
        out = packet[:8] + cm(key, salt, packet[4:8], index, packet[8:]) + word
        return out + hmac.new(auth, out, hashlib.sha1).digest()[:10]


def cm(key: bytes, salt: bytes, ssrc: bytes, index: int, data: bytes) -> bytes:
    iv = int.from_bytes(salt) << 16 ^ int.from_bytes(ssrc) << 64 ^ index << 16
    return bytes(a ^ b for a, b in zip(data, aes_cm(key, iv, len(data)), strict=True))


def header_length(packet: bytes) -> int:
    length = 12 + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        length += 4 + 4 * int.from_bytes(packet[length + 2 : length + 4])
    return length


def gcm_rtp(key: bytes, salt: bytes, packet: bytes, roc: int) -> bytes:
    head = header_length(packet)
    plain_iv = bytes(2) + packet[8:12] + roc.to_bytes(4) + packet[2:4]
    iv = bytes(a ^ b for a, b in zip(plain_iv, salt, strict=True))
    return packet[:head] + AESGCM(key).encrypt(iv, packet[head:], packet[:head])


def gcm_rtcp(key: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    word = (0x80000000 | index).to_bytes(4)
    plain_iv = bytes(2) + packet[4:8] + bytes(2) + index.to_bytes(4)
    iv = bytes(a ^ b for a, b in zip(plain_iv, salt, strict=True))
    return packet[:8] + AESGCM(key).encrypt(iv, packet[8:], packet[:8] + word) + word
