"""`pip install securecall` brings in nothing under the GPL, and says what it does bring.

What is looked at: the distributions that the base dependencies of pyproject.toml lead to on this
platform, extras left out. Of each, (1) the licence its metadata states must be on the list below;
(2) its licence files must not begin with a GPL, LGPL or AGPL title; (3) every shared library and
extension module is searched, as bytes, for the GNU licences' own words, for what FFmpeg and GCC's
GPL parts print about themselves, and for the names of GPL libraries that wheels are known to
carry. What this cannot show: code copied without any trace of its name or its licence.
"""

from __future__ import annotations

import re

import pytest

from tests.architecture.installed import (
    base_distributions,
    binaries_of,
    files_of,
    licence_of,
    size_of,
)

PERMISSIVE = {
    "3-Clause BSD License",
    "Apache-2.0",
    "Apache-2.0 OR BSD-3-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "PSF-2.0",
    "License :: OSI Approved :: Apache Software License",
    "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: MIT License",
    "License :: OSI Approved :: ISC License (ISCL)",
}
# What the list above does not hold came in after someone read it. (A weak copyleft may, once it is
# judged how it is linked; nothing needed one yet.)
JUDGED = {"g722": "its file: public domain, Carnegie Mellon's 'unrestricted', and BSD-2-Clause"}

TITLE = re.compile(rb"GNU\s+(AFFERO\s+|LESSER\s+|LIBRARY\s+)?GENERAL\s+PUBLIC\s+LICENSE", re.I)
TRACES = re.compile(
    rb"GNU (?:Affero |Lesser |Library )?General Public License"
    rb"|license: ?(?:L|A)?GPL|--enable-gpl|GPL version [23]|under the (?:L|A)?GPL"
    rb"|x264 - core|x265 \[info\]|libx26[45]|xvidcore|libpostproc"
    rb"|fftw3?_plan|FFTW_|rl_readline_name|GNU MP|__gmp_|libgnutls|libavcodec|pjsua_|libre_version"
)


@pytest.mark.parametrize("name", base_distributions())
def test_the_stated_licence_is_permissive(name):
    assert name in JUDGED or licence_of(name) in PERMISSIVE, licence_of(name)


@pytest.mark.parametrize("name", base_distributions())
def test_no_licence_file_is_a_gnu_licence(name):
    for path in files_of(name):
        if re.match(r"(licen[cs]e|copying)", path.name, re.IGNORECASE):
            assert not TITLE.search(path.read_bytes()[:400]), path


@pytest.mark.parametrize("name", base_distributions())
def test_no_binary_carries_traces_of_gpl_code(name):
    for path in binaries_of(name):
        found = TRACES.search(path.read_bytes())
        assert found is None, f"{path.name}: {found and found[0]!r}"


def test_the_search_for_traces_finds_them():
    for sample in (
        b"\0x264 - core 164 r3108 - H.264/MPEG-4 AVC codec",
        b"\0--enable-gpl --enable-libx265\0",
        b"under the terms of the GNU General Public License as",
    ):
        assert TRACES.search(sample)
    assert not TRACES.search(b"OpenSSL 4.0.1; libopus unknown; libsrtp3")


def test_binaries_are_really_looked_at():
    looked = {
        path.name.split(".")[0] for name in base_distributions() for path in binaries_of(name)
    }
    assert {"_rust", "_binding", "_cffi_backend"} <= looked
    assert any("opus" in name for name in looked)


def test_the_base_install_stays_under_60_megabytes():
    sizes = {name: size_of(name) for name in base_distributions()}
    assert sum(sizes.values()) <= 60e6, sizes
