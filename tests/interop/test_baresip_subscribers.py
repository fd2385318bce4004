"""baresip 1.0 and our client as subscribers of one registrar, both by password.

What baresip does is no evidence about TLS: it registers at whatever server answers, without a look
at its certificate. That our own client does look is shown elsewhere. Everything of DTLS-SRTP that
does not depend on who registers is in `test_baresip.py`.
"""

from __future__ import annotations

import pytest

BARESIP_HERTZ = 440.0  # what it plays, see its configuration
OUR_HERTZ = 620.0
CODECS = pytest.mark.parametrize(
    ("codec", "theirs"), [("opus", "opus/48000/2"), ("PCMU", "PCMU/8000/1")]
)
