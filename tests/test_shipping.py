"""What is installed, built into the image and uploaded."""

import logging
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray._private.runtime_env.packaging import create_package

PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", Path("constraints.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("extra", ["", "gpu", "cpu", "dev"])
def test_every_requirement_is_pinned_within_its_range(extra: str) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    for requirement in map(Requirement, lines):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_everything_installs_pinned_versions() -> None:
    places = ("README.md", "docs/cluster.md", "cluster.yaml", "Dockerfile")
    for path in places:
        lines = re.findall(r"pip install .*", Path(path).read_text())
        lines = [line for line in lines if "--no-deps" not in line]
        assert lines and all(re.search(r"-c \S*constraints\.txt", line) for line in lines), lines


def test_image_has_what_the_manifests_name() -> None:
    text = Path("Dockerfile").read_text()
    copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources >= {
        "pyproject.toml",
        "constraints.txt",
        "rayjob",
        "actors",
        "schemas",
        "deploy/job.yaml",
    }
    assert all(Path(source).exists() for source in sources)
    allowed = {
        line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert all({source, source.split("/")[0]} & allowed for source in sources)
    assert "WORKDIR /opt/rayjob" in text


def test_working_directory_ships_small(tmp_path: Path) -> None:
    """What ``ray job submit --working-dir .`` uploads, packed by Ray's own code."""
    package = tmp_path / "package.zip"
    create_package(".", package, include_gitignore=True, logger=logging.getLogger("packing"))
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
    assert {"rayjob/caption.py", "actors/stages.py", "schemas/config.py"} <= set(names)
    assert {"configs/demo.yaml", "deploy/job.yaml", "models/tiny-omni/config.json"} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".venv", ".git", "out"}
    assert {name.split("/")[1] for name in names if name.startswith("models/")} <= {"", "tiny-omni"}
    (stated,) = re.findall(r"about (\d+) MB with", Path("docs/cluster.md").read_text())
    assert package.stat().st_size == pytest.approx(int(stated) * 1e6, rel=0.15)


def test_only_the_tiny_model_ships(tmp_path: Path) -> None:
    for name in ("models/tiny-omni/config.json", "models/large/weights.bin", "out/x", ".venv/y"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text("content")
    for name in (".gitignore", ".rayignore"):
        (tmp_path / "tree" / name).write_bytes(Path(name).read_bytes())
    create_package(str(tmp_path / "tree"), tmp_path / "package.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    assert files == {"models/tiny-omni/config.json", ".gitignore", ".rayignore"}
