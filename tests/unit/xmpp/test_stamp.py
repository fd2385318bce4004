"""Time stamps are read and written as XEP-0082 has them."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.xmpp.stamp import build_stamp, parse_stamp

READ = {
    "1969-07-21T02:56:15Z": None,
    "1970-01-01T00:00:00Z": 0.0,
    "2010-07-10T23:08:25Z": 1278803305.0,
    "2010-07-10T23:08:25.5Z": 1278803305.5,
    "2010-07-11T01:08:25+02:00": 1278803305.0,
    "9999-12-31T23:59:59-23:59": 253402387139.0,
    "2010-02-30T00:00:00Z": None,
    "2010-07-10T24:08:25Z": None,
    "2010-07-10T23:08:25": None,
    "20100710T23:08:25": None,
    "2010-07-10T23:08:25+99:99": None,
    "0000-01-01T00:00:00Z": None,
    "٢٠١٠-07-10T23:08:25Z": None,
    "": None,
}


@pytest.mark.parametrize(("text", "unix"), READ.items())
def test_a_stamp_names_a_moment_or_is_refused(text, unix):
    if unix is None:
        with pytest.raises(ProtocolError):
            parse_stamp(text)
    else:
        assert parse_stamp(text) == unix


def test_what_is_written_reads_the_same():
    assert build_stamp(1278803305.25) == "2010-07-10T23:08:25.250000Z"
    assert parse_stamp(build_stamp(1278803305.25)) == 1278803305.25
    with pytest.raises(UsageError):
        build_stamp(1e15)
