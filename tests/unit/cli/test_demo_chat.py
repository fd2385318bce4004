from __future__ import annotations

from securecall.cli.demo_chat import _payloads

CIPHERTEXT = "cyXTl5jTlu+dXljuqEjcFdM/rEAVwxMDgxbfbXzvRiPCAQ=="
NAME, ATTRIBUTES = '["name"] = "payload";', '["attr"] = {\n["xmlns"] = "urn:xmpp:omemo:2";\n};'


def test_ciphertexts_are_found_in_whatever_order_lua_writes_a_table(tmp_path):
    archive = tmp_path / "data" / "chat%2etest" / "archive"
    archive.mkdir(parents=True)
    key = f'{{\n"{CIPHERTEXT}";\n["name"] = "key";\n{ATTRIBUTES}\n}};'
    orders = (f"{NAME}\n{ATTRIBUTES}", f"{ATTRIBUTES}\n{NAME}")
    tables = "".join(f'{{\n"{CIPHERTEXT}";\n{order}\n}};\n' for order in orders)
    (archive / "bob.list").write_text(f"item({{\n{key}\n{tables}}});\n")
    assert _payloads(tmp_path) == [CIPHERTEXT] * 2
