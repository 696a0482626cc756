"""What is installed, built into the image and uploaded."""

import logging
import re
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package


def test_the_docs_install_pinned_versions() -> None:
    for path in ("README.md", "docs/cluster.md"):
        lines = re.findall(r"^pip install .*", Path(path).read_text(), re.MULTILINE)
        assert lines and all("-c deploy/constraints.txt" in line for line in lines), lines


def test_image_has_what_the_manifests_name() -> None:
    text = Path("Dockerfile").read_text()
    copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources >= {"pyproject.toml", "rayjob", "actors", "schemas", "deploy/job.yaml"}
    assert all(Path(source).exists() for source in sources)
    allowed = {
        line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert sources <= allowed
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
