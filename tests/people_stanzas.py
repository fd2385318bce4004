"""Stanzas for the tests of people and rooms: Alice's, and as an application's stream reads them."""

from __future__ import annotations

from tests.stanzas import stanza as stanza

OWN = "alice@a.example"
