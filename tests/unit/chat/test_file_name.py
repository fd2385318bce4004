"""Names that others chose."""

from __future__ import annotations

import unicodedata

import pytest

from securecall.chat.file_name import MOST, shown_name

NAMES = {
    "summit.jpg": "summit.jpg",
    "très cool.jpg": "très cool.jpg",
    "报告.pdf": "报告.pdf",
    "": "file",
    ".": "file",
    "..": "file",
    "...": "file",
    " ": "file",
    "_": "file",
    "../../etc/passwd": "passwd",
    "/etc/passwd": "passwd",
    "..\\..\\windows\\system.ini": "system.ini",
    "C:\\autoexec.bat": "autoexec.bat",
    "C:evil.exe": "C_evil.exe",
    "\\\\server\\share\\x": "x",
    "a/": "file",
    "a/..": "file",
    "a\0b.txt": "ab.txt",
    "a.exe\0.txt": "a.exe.txt",
    "a\r\nb": "ab",
    "a\tb": "ab",
    "\x1b[31mred.txt": "[31mred.txt",
    "photo\u202egpj.exe": "photogpj.exe",
    "\u2066a\u2069.txt": "a.txt",
    "a\u200bb\u200d\ufeff.txt": "ab.txt",
    "a\u2028b.txt": "ab.txt",
    "soft\u00adhyphen": "softhyphen",
    "\ue000private": "private",
    "\ud800surrogate": "surrogate",
    "trailing...": "trailing",
    "trailing. . .": "trailing",
    "trailing   ": "trailing",
    "   leading": "leading",
    ".bashrc": "bashrc",
    "~root": "root",
    "-rf": "rf",
    "--help.txt": "help.txt",
    "CON": "_CON",
    "nul": "_nul",
    "nul.txt": "_nul.txt",
    "COM1.tar.gz": "_COM1.tar.gz",
    "lpt9 .txt": "_lpt9 .txt",
    "COM¹.txt": "_COM¹.txt",
    "console.txt": "console.txt",
    'a<b>c:d"e|f?g*h': "a_b_c_d_e_f_g_h",
    "file:stream:$DATA": "file_stream_$DATA",
    "a\u00a0\u2003b.txt": "a b.txt",
    "e\u0301.txt": "é.txt",
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items(), ids=[ascii(n)[:40] for n in NAMES])
def test_a_name_is_made_fit_to_be_shown(name, shown):
    assert shown_name(name) == shown


@pytest.mark.parametrize(
    "name",
    ["a" * 5000, "a" * 5000 + ".txt", "é" * 500 + ".pdf", "\U0001d54f" * 300 + ".jpeg",
     "." * 5000 + "x",
     "a." + "b" * 5000, "a/" * 5000 + "end.txt"],
)  # fmt: skip
def test_a_long_name_is_cut_and_keeps_its_kind(name):
    shown = shown_name(name)
    assert 0 < len(shown) <= MOST
    assert len(shown.encode()) <= 200
    ending = name.rpartition(".")[2]
    if len(ending) < 10:
        assert shown.endswith(ending)


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_as_it_is_the_second_time(name):
    shown = shown_name(name)
    assert shown_name(shown) == shown
    assert not any(unicodedata.category(c)[0] == "C" for c in shown)
