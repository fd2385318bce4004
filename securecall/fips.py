"""The fips profile: needs an active FIPS provider, tests itself, and stays down after an error.

securecall is not a FIPS 140 validated module and contains none. With `profile='fips'` it uses only
algorithms that NIST approves, and refuses to start if the OpenSSL behind `cryptography` does not
report an active FIPS provider, unless `fips='algorithms-only'` is set. A validated configuration
needs cryptography, pyOpenSSL, libsrtp and Python built by the deployer against a validated OpenSSL
provider.

The known answers are of NIST's GCM examples, RFC 4231, RFC 5869's construction (Wycheproof), RFC
6979 A.2.6, RFC 8032 7.1 and Wycheproof's ML-KEM-1024; that of SRTP was computed apart from libsrtp.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cryptography.exceptions import (
    InternalError,
    InvalidSignature,
    InvalidTag,
    UnsupportedAlgorithm,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from securecall.errors import FipsError, SecurecallError, Unsupported, UsageError
from securecall.rtp.hkdf import hkdf_expand, hkdf_extract
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.transport.openssl import fips_provider_active, has_group
from securecall.transport.suite import FIPS, FIPS_CLASSICAL, ORDINARY, Suite

Profile = Literal["standard", "fips"]
Fips = Literal["required", "algorithms-only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Under which profile a client runs.

    Attributes:
        suite: Of its calls.
        provider: A FIPS provider reported itself active; the only ground for `fips_approved`.
    """

    suite: Suite = ORDINARY
    provider: bool = False


STANDARD: Final = Approval()


def approval(profile: Profile, fips: Fips) -> Approval:
    """Enter a profile; for "fips" every self-test runs.

    Raises:
        UsageError: no such profile, or a word about FIPS beside another one.
        Unsupported: no FIPS provider is active, or an algorithm of the profile cannot be had.
        FipsError: a self-test failed, now or earlier in this process.
    """
    if profile not in get_args(Profile) or fips not in get_args(Fips):
        raise UsageError("the profiles are 'standard' and 'fips', which takes 'algorithms-only'")
    if profile == "standard":
        if fips != "required":
            raise UsageError("fips= says something about profile='fips' alone")
        return STANDARD
    provider = fips_provider_active()
    if not provider and fips == "required":
        raise Unsupported(
            "the OpenSSL behind cryptography reports no active FIPS provider; "
            "fips='algorithms-only' does without, and is no validated configuration"
        )
    run_self_tests()
    hybrid = has_group(FIPS.inner_group)
    return Approval(suite=FIPS if hybrid else FIPS_CLASSICAL, provider=provider)


class _Latch:
    """Closes for good at the first failure: only a new process begins anew."""

    def __init__(self) -> None:
        self.failure = ""


LATCH: Final = _Latch()


def require_working() -> None:
    """Refuse any service once a self-test failed.

    Raises:
        FipsError: one did.
    """
    if LATCH.failure:
        raise FipsError(f"the self-test of {LATCH.failure} failed; nothing more runs in here")


def run_self_tests() -> None:
    """Compare every algorithm of the profile with a known answer.

    Raises:
        Unsupported: the library refuses an algorithm.
        FipsError: a self-test failed, now or earlier in this process.
    """
    require_working()
    for name, test in KNOWN_ANSWERS.items():
        try:
            passed = test()
        except UnsupportedAlgorithm as e:
            raise Unsupported(f"this build of cryptography refuses {name}: {e}") from e
        except (ValueError, InternalError, InvalidTag, InvalidSignature, SecurecallError):
            passed = False
        if not passed:
            LATCH.failure = name
            require_working()


def _aes_gcm() -> bool:
    sealed = bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
    cipher = AESGCM(bytes(32))
    if cipher.encrypt(bytes(12), bytes(16), None) != sealed:
        return False
    return cipher.decrypt(bytes(12), sealed, None) == bytes(16) and _refuses(
        lambda: cipher.decrypt(bytes(12), sealed[:-1] + bytes(1), None), InvalidTag
    )


def _sha() -> bool:
    return hashlib.sha512(b"abc").hexdigest() == (
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    )


def _hmac() -> bool:
    made = hmac.digest(b"Jefe", b"what do ya want for nothing?", "sha512")
    return made.hex() == (
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    )


def _hkdf() -> bool:
    salt = bytes.fromhex("685ac7df93701d6c78babd847861bb3c")
    material = bytes.fromhex("c360e16084cfd13cb44b0dc02d8665de")
    info = bytes.fromhex("e0ddfaaaa7afb53f59a007a205c7149b5b5a72be")
    made = hkdf_expand(hkdf_extract(salt, material, "sha512"), info, 20, "sha512")
    return made.hex() == "17408c6f8dd7eb8423758ce39a91b59020f7debe"


def _pbkdf2() -> bool:
    kdf = PBKDF2HMAC(algorithm=hashes.SHA512(), length=32, salt=b"salt", iterations=1)
    made = kdf.derive(b"password").hex()
    return made == "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"


def _ecdsa() -> bool:
    public = ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP384R1(),
        bytes.fromhex(
            "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064"
            "a254515480bc138015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b23"
            "1c3ae0d4fe7344fd2533264720"
        ),
    )
    signature = encode_dss_signature(
        0x94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46,
        0x99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8,
    )
    scheme = ec.ECDSA(hashes.SHA384())
    public.verify(signature, b"sample", scheme)
    own = ec.generate_private_key(ec.SECP384R1())
    own.public_key().verify(own.sign(b"sample", scheme), b"sample", scheme)
    return _refuses(lambda: public.verify(signature, b"simple", scheme), InvalidSignature)


def _ed25519() -> bool:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    signature = key.sign(b"")
    key.public_key().verify(signature, b"")
    known = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    refused = _refuses(lambda: key.public_key().verify(signature, b"x"), InvalidSignature)
    return signature.hex() == known and refused


def _ml_kem() -> bool:
    if not has_group(FIPS.inner_group):
        return True  # nor is it used then: the suite is FIPS_CLASSICAL
    key = mlkem.MLKEM1024PrivateKey.from_seed_bytes(
        bytes.fromhex(
            "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"
            "8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"
        )
    )
    public = key.public_key()
    known = "61b95ec8c32ae85ad7a17ae5b9c2dfb083e05f767da3ba9a0a8092ea6b4cbf7a"
    shared, ciphertext = public.encapsulate()
    other = bytes((ciphertext[0] ^ 1,)) + ciphertext[1:]
    return (
        hashlib.sha256(public.public_bytes_raw()).hexdigest() == known
        and key.decapsulate(ciphertext) == shared
        and key.decapsulate(other) != shared
    )


def _srtp() -> bool:
    material = bytes(range(44))
    keys = Secret(material), Secret(bytes(44))
    sender = SrtpSession(SrtpProfile.SRTP_AEAD_AES_256_GCM, *keys)
    packet = bytes.fromhex("806f000100000000deadbeef") + b"known answer"
    return sender.protect(packet).hex() == SRTP_ANSWER


SRTP_ANSWER: Final = (
    "806f000100000000deadbeef36d9cfbe6357dda2b30593d2595de96676fc4ab6c24e9b64e2373769"
)


def _refuses(act: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        _ = act()
    except refusal:
        return True
    return False


KNOWN_ANSWERS: Final[dict[str, Callable[[], bool]]] = {
    "AES-256-GCM": _aes_gcm,
    "SHA-512": _sha,
    "HMAC-SHA-512": _hmac,
    "HKDF-SHA-512": _hkdf,
    "PBKDF2-HMAC-SHA-512": _pbkdf2,
    "ECDSA P-384": _ecdsa,
    "Ed25519": _ed25519,
    "ML-KEM-1024": _ml_kem,
    "SRTP AEAD_AES_256_GCM": _srtp,
}
