"""The cluster of namespaces that stands in for machines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.jobs import NEEDS_NAMESPACES

TOOLS = Path(__file__).parents[1] / "tools"
COVER = """
import sys
from pathlib import Path
from local_cluster import cover
top, source, *kept, beside = map(Path, sys.argv[1:])
cover(top, source, kept)
print([path.exists() for path in (*kept, kept[-1] / "python", beside)])
"""


@NEEDS_NAMESPACES
def test_a_checkout_stays_in_view_below_a_folder_that_each_machine_has(tmp_path: Path) -> None:
    """As in /tmp: with its environment, and without what lies beside it."""
    checkout, source, beside = (tmp_path / name for name in ("rayjob", "source", "beside"))
    for folder in (checkout / ".venv", source, beside):
        folder.mkdir(parents=True)
    (checkout / ".venv" / "python").touch()
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", COVER),
            *(Path("/", tmp_path.parts[1]), source, checkout, checkout / ".venv", beside),
        ],
        cwd=TOOLS, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "[True, True, True, False]", done.stderr
