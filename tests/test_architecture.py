"""Rules about the code as a whole: who imports whom, how long a file is, what it names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {"schemas": set[str](), "actors": {"schemas"}, "rayjob": {"schemas", "actors"}}
"""Of our own packages. Nothing that ships imports tinyworld, tests, benchmarks or tools."""

OURS = {*MAY_IMPORT, "tinyworld", "tests", "benchmarks", "tools", "examples"}

RECIPES = "rayjob.recipes"
"""Its modules run on workers, in users' processes, and beside users' own recipes: they import
``schemas`` and each other."""

APART = {"rayjob.inputs", "rayjob.output", "rayjob.capacity"}
"""Rooms that do not import each other, but for what is allowed next."""

BETWEEN = {
    ("rayjob.inputs", "rayjob.output.store"),
    ("rayjob.inputs", "rayjob.output.layout"),
    ("rayjob.inputs", "rayjob.output.commits"),
}
"""Inputs may read an output."""

MAX_LINES = 400
MAX_MODULES = 16
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|pytorch\.org/whl")

MODULES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
ALL_MODULES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def imported(source: str, module: str) -> set[str]:
    """Dotted names that a module's source imports, wherever in it.

    Args:
        source: its text.
        module: its dotted name, for relative imports; of a package with ".__init__".
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            assert parents or not node.level, f"{module} imports from beyond its package"
            place = ".".join([*parents, *filter(None, [node.module])])
            found.update(f"{place}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            # importlib.import_module("name") and __import__("name")
            names = (each.value for each in node.args if isinstance(each, ast.Constant))
            found.update(name for name in names if isinstance(name, str))
    return found


def within(name: str, place: str) -> bool:
    return f"{name}.".startswith(f"{place}.")


def violations(source: str, module: str) -> set[str]:
    """What a module imports of ours and must not."""
    package, names = module.split(".")[0], imported(source, module)
    ours = {name for name in names if name.split(".")[0] in OURS}
    found = {name for name in ours if name.split(".")[0] not in MAY_IMPORT[package] | {package}}
    if within(module, RECIPES):
        found |= {name for name in ours if not (within(name, "schemas") or within(name, RECIPES))}
    for room in APART:
        if within(module, room):
            allowed = [place for here, place in BETWEEN if here == room]
            found |= {
                name
                for name in ours
                if any(within(name, other) for other in APART - {room})
                and not any(within(name, place) for place in allowed)
            }
    return found


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(MAY_IMPORT)
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT).with_suffix("")
    found = violations(path.read_text(), ".".join(relative.parts))
    assert not found, f"{relative} imports {found}"


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("schemas.m", "import numpy, schemas.media\nfrom . import tables", set()),
        ("schemas.m", "from actors.engine.vllm_engine import E", {"actors.engine.vllm_engine.E"}),
        ("schemas.m", "def f():\n    import rayjob.cli as c", {"rayjob.cli"}),
        ("actors.m", "from schemas import media\nfrom .storage import open_range", set()),
        ("actors.m", "if TYPE_CHECKING:\n    from rayjob import recipes", {"rayjob.recipes"}),
        ("rayjob.m", "import actors.engine, schemas\nfrom tinyworld import s3", {"tinyworld.s3"}),
        ("rayjob.m", "importlib.import_module('tests.services')", {"tests.services"}),
        ("rayjob.recipes.m", "import numpy\nfrom schemas import media\nfrom . import rules", set()),
        ("rayjob.recipes.m", "from rayjob import ids\nimport rayjob.recipes.rules", {"rayjob.ids"}),
        ("rayjob.recipes.m", "from actors import gate", {"actors.gate"}),
        ("rayjob.recipes.m", "from ..inputs import todo", {"rayjob.inputs.todo"}),
        ("rayjob.inputs.m", "from rayjob.output.store import TableStore", set()),
        ("rayjob.inputs.m", "from rayjob.output import store, lock", {"rayjob.output.lock"}),
        ("rayjob.output.m", "from rayjob import capacity, ids", {"rayjob.capacity"}),
        ("rayjob.capacity.m", "from rayjob.output.store import T", {"rayjob.output.store.T"}),
    ],
)
def test_the_rule_catches(module: str, source: str, expected: set[str]) -> None:
    assert violations(source, module) == expected


def test_files_stay_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in ALL_MODULES
    }
    assert not {name: count for name, count in lengths.items() if count > MAX_LINES}


def test_folders_stay_small() -> None:
    folders = Counter(
        str(path.parent.relative_to(ROOT)) for path in ALL_MODULES if not path.stem.startswith("__")
    )
    assert not {name: count for name, count in folders.items() if count > MAX_MODULES}


def test_no_registry_is_named() -> None:
    """Where packages come from is the business of pip's configuration (and of tools/)."""
    shipped = [path for package in MAY_IMPORT for path in (ROOT / package).rglob("*")]
    shipped = [path for path in shipped if path.suffix in (".py", ".txt", ".yaml")]
    lock = [ROOT / "constraints.txt", ROOT / "pyproject.toml"]
    # In our own code file:// is a kind of input; in the lock it would be a folder of wheels.
    named = [path for path in shipped if REGISTRY.search(path.read_text())]
    named += [path for path in lock if re.search(f"{REGISTRY.pattern}|file://", path.read_text())]
    assert not named


def test_the_lock_pins_everything() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 100
    assert not [pin for pin in pins if not re.match(r"[\w.-]+==[\w.+]+( ; |$)", pin)]


def test_the_index_of_the_docs_lists_every_page() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "README.md").read_text())) == pages
