"""Rules about the code as a whole: who imports whom, how long a file is, what it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {"schemas": set[str](), "actors": {"schemas"}, "rayjob": {"schemas", "actors"}}
"""Of our own packages. Nothing that ships imports tinyworld, tests, benchmarks or tools."""

OURS = {*MAY_IMPORT, "tinyworld", "tests", "benchmarks", "tools"}
MAX_LINES = 400
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|pytorch\.org/whl")

MODULES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def imported(source: str, module: str) -> set[str]:
    """Top-level packages that a module's source imports, wherever in it.

    Args:
        source: its text.
        module: its dotted name, for relative imports; of a package with ".__init__".
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level]
            assert parents, f"{module} imports from beyond its package"
            found.add(parents[0])
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            # importlib.import_module("name") and __import__("name")
            names = (each.value for each in node.args if isinstance(each, ast.Constant))
            found.update(name.split(".")[0] for name in names if isinstance(name, str))
    return found


def violations(package: str, source: str, module: str) -> set[str]:
    return imported(source, module) & (OURS - MAY_IMPORT[package] - {package})


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(MAY_IMPORT)
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT).with_suffix("")
    found = violations(relative.parts[0], path.read_text(), ".".join(relative.parts))
    assert not found, f"{relative} imports {found}"


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("schemas", "import numpy, schemas.media\nfrom . import tables", set()),
        ("schemas", "from actors.engine.vllm_engine import Engine", {"actors"}),
        ("schemas", "def f():\n    import rayjob.cli as c", {"rayjob"}),
        ("actors", "from schemas import media\nfrom .storage import open_range", set()),
        ("actors", "if TYPE_CHECKING:\n    from rayjob.recipes import omni", {"rayjob"}),
        (
            "rayjob",
            "import actors.engine, schemas\nfrom tinyworld import s3",
            {"tinyworld"},
        ),
        (
            "rayjob",
            "import importlib\nimportlib.import_module('tests.services')",
            {"tests"},
        ),
    ],
)
def test_the_rule_catches(package: str, source: str, expected: set[str]) -> None:
    assert violations(package, source, f"{package}.some_module") == expected


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: count for name, count in lengths.items() if count > MAX_LINES}


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
