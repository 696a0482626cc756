"""cluster.yaml brought up by `ray up`: a head and two workers that are namespaces of this machine.

The tests come in the order of a person's day, on one cluster.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployment import watching
from tests.support.jobs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

UNAVAILABLE = 77
MARK = "the command ended with"
HEAD, STAYS, DIES = "10.77.0.2", "10.77.0.3", "10.77.0.4"
CLIPS = 160
"""So many that the run outlives the half minute until a lost node is noticed."""

UPLOAD = f"""
import pathlib, boto3
from tinyworld.demo import render_clips
from tinyworld.world import sample_scenes
folder = pathlib.Path("out/clips")
for name in render_clips(sample_scenes({CLIPS}, seed=19), folder):
    boto3.client("s3").upload_file(str(folder / name), "videos", f"clips/{{name}}")
boto3.client("s3").put_object(Bucket="videos", Key="broken/text.mp4", Body=b"no video")
"""

SCRAPE = """
scrape_configs:
  - job_name: ray
    scrape_interval: 2s
    file_sd_configs: [{files: [/home/ubuntu/services.json], refresh_interval: 2s}]
global: {evaluation_interval: 2s}
rule_files: [ALERTS]
""".replace("ALERTS", str(watching.ALERTS))

QUERY = """
import sys, httpx
url = "http://127.0.0.1:9090/api/v1/query"
print(httpx.get(url, params={"query": sys.argv[1]}).raise_for_status().text)
"""

CAPTIONED = """
import json, sys, pyarrow.dataset, s3fs
found = pyarrow.dataset.dataset(f"captions/{sys.argv[1]}/captions", filesystem=s3fs.S3FileSystem())
print(json.dumps(found.to_table(columns=["video_id"])["video_id"].to_pylist()))
"""


class Machine:
    """A shell on the machine from which a person runs `ray up`, in a checkout there."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with open(log, "w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "tools/local_cluster.py", "--", "bash"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT,
            )  # fmt: skip
        self.run("true")

    def run(self, command: str) -> tuple[int, str]:
        """Exit code, and what was printed on both streams."""
        assert self._process.stdin is not None and self._process.stdout is not None
        inner = f"bash -c {shlex.quote(command)} < /dev/null 2>&1"
        self._process.stdin.write(f"{inner}; code=$?; echo; echo {MARK} $code\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith(MARK):
                return int(line.removeprefix(MARK)), "".join(lines)
            lines.append(line)
        if self._process.wait() == UNAVAILABLE:
            pytest.skip(f"not run: {self._log.read_text().strip()}")
        raise AssertionError("".join(lines) + self._log.read_text())

    def expect(self, command: str) -> str:
        """What a command prints that must end with 0."""
        code, printed = self.run(command)
        assert code == 0, printed
        return printed

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:  # a command still runs; it ends with its machine
            self._process.send_signal(signal.SIGINT)
            self._process.wait()


def ssh(address: str, command: str) -> str:
    return (
        "ssh -q -i ~/.ssh/rayjob.pem -o StrictHostKeyChecking=no "
        f"ubuntu@{address} {shlex.quote(command)}"
    )


def query(machine: Machine, expression: str) -> list[Any]:
    """What Prometheus answers, which must understand the question."""
    answer = json.loads(machine.expect(python(QUERY, expression)))
    result: list[Any] = answer["data"]["result"]
    return result


def shown(machine: Machine, expression: str) -> list[Any]:
    """What Prometheus answers as soon as there is something; Ray exports every ten seconds."""
    deadline = time.monotonic() + 60
    while not (result := query(machine, expression)) and time.monotonic() < deadline:
        time.sleep(1)
    return result


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("ray-up") / "log")
    yield machine
    machine.close()


def python(code: str, *arguments: str, by: str = "python") -> str:
    return shlex.join([by, "-c", code, *arguments])


def test_the_section_of_the_readme_word_for_word(machine: Machine) -> None:
    """After `make demo`, which leaves a token in the home folder."""
    machine.expect(f"{sys.executable} -m tinyworld.demo --clips 3")
    machine.expect(python(UPLOAD, by=sys.executable))
    job = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    job |= {"input": ["s3://videos/clips/"], "output": "s3://captions/readme"}
    # A cluster that is empty until a job asks for nodes, as in deploy/job.yaml.
    job["engine"] |= {"engines": 2, "autoscale": True}
    job["decode"] = {"actors": 2}
    machine.expect(f"echo {shlex.quote(json.dumps(job))} > job.yaml")
    section = (ROOT / "README.md").read_text().partition("### On a cluster")[2]
    commands = re.split(r"```\n?", section)[1]
    assert "ray up cluster.yaml\n" in commands
    # `ray up` asks a person, at a terminal, whether it shall.
    asked = f"echo y | script -qec {shlex.quote('bash -exc ' + shlex.quote(commands))} /dev/null"
    printed = machine.expect(asked)
    assert f"{CLIPS} of {CLIPS} videos done" in printed
    assert captioned(machine, "readme") == names()


def names() -> Counter[str]:
    return Counter(f"clip-{number:03d}.mp4" for number in range(CLIPS))


def captioned(machine: Machine, output: str) -> Counter[str]:
    return Counter(json.loads(machine.expect(python(CAPTIONED, output))))


def test_nothing_is_done_without_the_token(machine: Machine) -> None:
    """By a port scan of all nodes from a machine beside them, and by the way to the dashboard."""
    machine.expect("nohup ray dashboard cluster.yaml > /dev/null 2>&1 & sleep 5")
    scan = f"HOME=/tmp/nobody {sys.executable} -m tests.support.deployment.intruder"
    printed = machine.expect(f"{scan} {HEAD} {STAYS} {DIES} localhost:8265")
    found = json.loads(printed.strip().splitlines()[-1])
    ports = {(host, port) for host, port in found["open"]}
    # Ray's own port and that of its clients answer, the dashboard to the head alone.
    assert {(HEAD, 6379), (HEAD, 10001), ("localhost", 8265)} <= ports
    assert (HEAD, 8265) not in ports
    assert {host for host, _ in ports} == {HEAD, STAYS, DIES, "localhost"}
    assert found["done"] == []


@pytest.fixture
def prometheus(machine: Machine) -> None:
    """Scrapes all nodes that Ray names, as soon as all are there, and evaluates the alerts."""
    services = ssh(HEAD, "cat /tmp/ray/prom_metrics_service_discovery.json")
    deadline = time.monotonic() + 300
    while not all(f"{each}:" in machine.run(services)[1] for each in (HEAD, STAYS, DIES)):
        assert time.monotonic() < deadline
        time.sleep(5)
    machine.expect(f"{services} > ~/services.json; echo {shlex.quote(SCRAPE)} > ~/prometheus.yaml")
    run = f"{watching.program('prometheus')} --config.file ../prometheus.yaml"
    run += " --storage.tsdb.path /tmp/prometheus --web.listen-address 127.0.0.1:9090"
    machine.expect(f"nohup {run} > ../prometheus.log 2>&1 &")


def test_a_worker_dies_and_nothing_is_lost(machine: Machine, prometheus: None) -> None:
    job = "python -m rayjob.caption --config job.yaml --output s3://captions/killed"
    job += " --set shards.seconds=0.5 --set engine.videos_in_flight=1"
    # One that fails, for what the dashboard shows of failures.
    job += " --input s3://videos/broken/ --input s3://videos/clips/"
    # All must find room on one worker: nobody replaces the other.
    job += " --set engine.cpus_per_engine=0.5 --set decode.cpus_per_actor=0.5"
    submit = f"rayjob submit --address http://localhost:8265 -- {job}"
    machine.expect(f"({submit}; echo $? > ../code) > ../log 2>&1 &")
    deadline = time.monotonic() + 300
    # What the lost worker counted in its last ten seconds, Prometheus never sees.
    failed = 'increase(ray_rayjob_videos_total{outcome="failed"}[10m])'
    while not query(machine, failed) or machine.run(python(CAPTIONED, "killed"))[0]:
        assert time.monotonic() < deadline, machine.run("cat ../log")[1]
        time.sleep(0.5)
    assert sum(captioned(machine, "killed").values()) < CLIPS
    machine.expect(f"kill -9 $(cat ../machines/{DIES})")
    machine.expect("while ! test -s ../code; do sleep 1; done")
    log = machine.expect("cat ../log")
    assert machine.expect("cat ../code").strip() == "0", log
    assert captioned(machine, "killed") == names()
    # What the dashboard shows of the last minutes; a cause of idle time need not be there.
    drawn = {expression: query(machine, expression) for expression in watching.dashboard_queries()}
    missing = [each for each, result in drawn.items() if not result and "and on()" not in each]
    assert missing == []
    (lost,) = shown(machine, "sum(ray_node_failure_total)")
    assert lost["value"][1] == "1"
    assert shown(machine, 'max_over_time(ALERTS{alertname="NodeLost"}[10m])')


def test_ray_down_leaves_nothing_that_runs_jobs(machine: Machine) -> None:
    """On workers a cloud ends the machine; `local` leaves them to notice that the head is gone."""
    machine.expect("ray down -y cluster.yaml")
    assert of_ray(machine, HEAD, "ray") == []
    deadline = time.monotonic() + 180
    # Beside these, agents that have no raylet any more stay until the machine goes.
    while left := of_ray(machine, STAYS, "raylet/raylet") + of_ray(machine, STAYS, "MapWorker"):
        assert time.monotonic() < deadline, left
        time.sleep(5)


def of_ray(machine: Machine, address: str, word: str) -> list[str]:
    """Processes of a machine, but for the SSH daemon's, whose command has a word."""
    lines = machine.expect(ssh(address, "ps -e -o args=")).splitlines()
    assert any("sshd" in line for line in lines)
    return [line for line in lines if word in line and "sshd" not in line]
