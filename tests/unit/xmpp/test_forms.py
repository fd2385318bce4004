from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.forms import Form, build_form, parse_form
from tests.stanzas import stanza

X = "<x xmlns='jabber:x:data' type='{}'>{}</x>"
TYPE = "<field var='FORM_TYPE' type='hidden'><value>t</value></field>"


def test_a_form_survives_the_way():
    form = Form(kind="submit", form_type="t", fields={"a": ("1", "2"), "b": (), "c": ("",)})
    assert parse_form(build_form(form)) == form


def test_flags_are_read_in_every_spelling():
    form = Form(kind="form", fields={"a": ("1",), "b": ("true",), "c": ("0",), "d": ("maybe",)})
    flags = [form.flag(name) for name in "abcde"]
    assert flags == [True, True, False, None, None]


def test_a_form_type_that_is_not_hidden_means_nothing():
    shown = "<field var='FORM_TYPE' type='text-single'><value>t</value></field>"
    assert parse_form(stanza(X.format("result", shown))).form_type == ""
    assert parse_form(stanza(X.format("result", TYPE))).form_type == "t"


@pytest.mark.parametrize(
    "text",
    [
        "<x xmlns='other' type='form'/>",
        X.format("shape", ""),
        X.format("form", "<field var='a'/><field var='a'/>"),
        X.format("form", TYPE + TYPE),
        X.format("form", TYPE.replace("<value>", "<value>u</value><value>")),
        X.format("form", "".join(f"<field var='{n}'/>" for n in range(257))),
        X.format("form", "<field var='a'>" + "<value/>" * 257 + "</field>"),
    ],
)
def test_what_is_no_form_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_form(stanza(text))
