"""Data forms: named fields with values, as requests and answers carry them (XEP-0004)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError

FORMS: Final = "jabber:x:data"
FORM: Final = f"{{{FORMS}}}x"
_FIELD: Final = f"{{{FORMS}}}field"
_VALUE: Final = f"{{{FORMS}}}value"
_RULE: Final = "XEP-0004"
_MAX_FIELDS: Final = 256
_MAX_VALUES: Final = 256  # of one field


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form's fields.

    Attributes:
        kind: "form", "submit", "result" or "cancel".
        form_type: What the field names mean (XEP-0068), "" where it is not said.
        fields: Name -> values, FORM_TYPE left out.
    """

    kind: str
    form_type: str = ""
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def first(self, name: str) -> str | None:
        """The first value of a field, None where it has none."""
        values = self.fields.get(name, ())
        return values[0] if values else None

    def flag(self, name: str) -> bool | None:
        """A yes-or-no field's value, None where it is not there or is something else."""
        return {"1": True, "true": True, "0": False, "false": False}.get(self.first(name) or "")


def parse_form(element: Element) -> Form:
    """Read an `<x xmlns='jabber:x:data'/>`.

    Raises:
        ProtocolError: it is none, names a field twice, or has more than anybody needs.
    """
    if element.tag != FORM:
        raise ProtocolError("a data form was expected", rule=_RULE)
    kind = element.get("type", "form")
    if kind not in ("form", "submit", "result", "cancel"):
        raise ProtocolError("a data form of an unknown type", rule=_RULE)
    found: dict[str, tuple[str, ...]] = {}
    form_type = ""
    children = element.findall(_FIELD)
    if len(children) > _MAX_FIELDS:
        raise ProtocolError(f"a data form with more than {_MAX_FIELDS} fields", rule=_RULE)
    for child in children:
        name = child.get("var", "")
        values = tuple(value.text or "" for value in child.findall(_VALUE))
        if len(values) > _MAX_VALUES:
            raise ProtocolError(f"a field with more than {_MAX_VALUES} values", rule=_RULE)
        if name in found or (name == "FORM_TYPE" and form_type):
            raise ProtocolError("a data form with two fields of one name", rule=_RULE)
        if name == "FORM_TYPE":
            if len(set(values)) != 1:
                raise ProtocolError("a data form of no type, or of two", rule="XEP-0068")
            # One that is not hidden says nothing about the form (XEP-0115 5.4, XEP-0068 3.1).
            hidden = child.get("type") == "hidden" or kind == "submit"
            form_type = values[0] if hidden else ""
        elif name:
            found[name] = values
    return Form(kind=kind, form_type=form_type, fields=found)


def build_form(form: Form) -> Element:
    """Write a form."""
    x = Element(FORM, {"type": form.kind})
    if form.form_type:
        _add(x, "FORM_TYPE", (form.form_type,)).set("type", "hidden")
    for name, values in form.fields.items():
        _add(x, name, values)
    return x


def _add(x: Element, name: str, values: tuple[str, ...]) -> Element:
    added = SubElement(x, _FIELD, {"var": name})
    for value in values:
        SubElement(added, _VALUE).text = value
    return added
