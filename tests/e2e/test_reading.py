"""Where a run's manifest is read on a cluster of several nodes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.ray_nodes import RayCluster
from tests.support.reading import GROUPS

pytestmark = pytest.mark.slow

# By import, as what a driver's main module defines is sent by value.
DRIVER = "import sys; from tests.support import reading; reading.main(sys.argv[1])"


def test_a_local_manifest_is_read_on_the_drivers_node(tmp_path: Path) -> None:
    """A worker's node need not have the folder that the driver writes to."""
    with RayCluster() as cluster:
        cluster.add("worker", cpus=2)
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(tmp_path)],
            cwd=jobs.ROOT,
            env={**cluster.env, "RAY_ADDRESS": cluster.address},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"read": GROUPS, "nodes": ["head"]}
