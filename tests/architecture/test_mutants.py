"""The mutator changes what it says, leaves prose alone, and asks tests that exist."""

from __future__ import annotations

import ast
import tomllib

from tests.mutants import mutator
from tests.mutants.scope import files_of, modules
from tests.paths import PROJECT

SOURCE = '''
"""Prose."""
LIMIT: Final = 3
_RULE: Final = "RFC 1"
Either = int | str

@dataclass
class Key:
    """Prose."""
    data: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "Key(" + "...)"

def take(data: bytes, many: int = 2) -> bytes | None:
    """Prose."""
    if len(data) < many and not data:
        raise ProtocolError(f"{data!r}, more" + "prose", rule=_RULE)
    log.info("prose")
    store.save(data)
    return data[:1]
'''


def test_each_mutant_is_another_program_and_says_where():
    seen = {ast.unparse(ast.parse(SOURCE))}
    for number, place in enumerate(mutator.places(SOURCE)):
        line, change, tree = mutator.mutant(SOURCE, number)
        assert (line, change) == place
        text = ast.unparse(tree)
        assert text not in seen, change
        assert 0 < line <= SOURCE.count("\n")
        seen.add(text)
    changes = " ".join(mutator.mutant(SOURCE, n)[1] for n in range(mutator.count(SOURCE)))
    for part in ("3 became", "False became", "< many", "and/or", "no not", "deleted: raise"):
        assert part in changes
    for part in ("store.save", "returns None", "2 became"):
        assert part in changes
    assert "rose" not in changes.replace("deleted: raise", "").replace("+ 'prose'", "")


def test_prose_is_left_alone():
    for number in range(mutator.count(SOURCE)):
        _, change, tree = mutator.mutant(SOURCE, number)
        text = ast.unparse(tree)
        for kept in ("'Key('", "_RULE: Final = 'RFC 1'", "Either = int | str", "log.info('prose')"):
            assert kept in text, change


def test_every_module_has_tests_to_be_asked():
    assert [path for _, path in modules() if not path.exists()] == []
    assert [name for name, _ in modules() if not files_of(name)] == []


def test_every_equivalent_mutant_still_exists_and_has_a_reason():
    known = tomllib.loads((PROJECT / "tests/mutants/equivalent.toml").read_text(encoding="utf-8"))
    paths = dict(modules())
    for entry in known["mutant"]:
        assert entry["why"]
        source = paths[entry["module"]].read_text(encoding="utf-8")
        lines = source.splitlines()
        found = {(lines[line - 1].strip(), change) for line, change in mutator.places(source)}
        assert (entry["line"], entry["change"]) in found, entry
