"""cluster.yaml without a cloud: machines that `ray up` reaches by SSH, all of them on this one.

    python tools/local_cluster.py                  # a shell from which to try `ray up cluster.yaml`
    python tools/local_cluster.py -- COMMAND ...   # a command instead, whose exit code it returns

The shell stands on a machine of its own, in a checkout of its own: with the project installed as
the README says, an S3 server, and a cluster.yaml that differs from the repository's in one thing:
its provider is `local`, with the addresses of a head and two workers in place of types of
instances. Workers run the set-up commands of the engine nodes.

A machine is a set of Linux namespaces: its processes, network, /home and /tmp are its own, and it
runs an SSH daemon. No network leads out of them, so that nothing here can be reached from elsewhere
and nothing collides with a Ray that runs beside; when the command ends, everything has ended.
Packages come from a folder that is filled beforehand; vLLM on the workers is that of the
environment this runs in. Two things are missing, and pass as done: cloud-init, and apt behind sudo.

Needs root for the namespaces, and rsync, ssh and sshd; what is missing is unpacked from Debian's
packages (tools/debian.py), not installed. Ends with 77 where a machine cannot be had.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import debian
import yaml
from debian import EXIT_UNAVAILABLE, Unavailable
from lock import CONSTRAINTS, ROOT, pinned

sys.path.insert(0, str(ROOT))

from tinyworld.s3 import S3Gateway

STATE = ROOT / "out" / "local-cluster"
NETWORK = "10.77.0"
YOU = f"{NETWORK}.1"
HEAD, *WORKERS = (f"{NETWORK}.{number}" for number in (2, 3, 4))
BUCKETS = ("videos", "captions")
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
PROGRAMS = (
    ("sshd", "openssh-server", "libwrap0"),
    ("ssh", "openssh-client"),
    ("rsync", "rsync", "libpopt0", "libxxhash0"),
    ("ip", "iproute2", "libbpf1", "libmnl0"),
)
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    # All machines start on the cores of one.
    "RAY_raylet_start_wait_time_s": "200",
    # Ray's second autoscaler starts one machine of the provider `local`, however many there are.
    "RAY_UP_enable_autoscaler_v2": "0",
}


def main() -> int:
    if sys.argv[1:2] == ["--inside"]:
        return inside(Path(sys.argv[2]), sys.argv[3:])
    if sys.argv[1:2] == ["--node"]:
        node(Path(sys.argv[2]), sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="[a shell]")
    command = parser.parse_args().command or [os.environ.get("SHELL", "bash")]
    STATE.mkdir(parents=True, exist_ok=True)
    try:
        check_namespaces()
        programs()
        wheels()
    except Unavailable as error:
        print(f"no cluster on this machine: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    with tempfile.TemporaryDirectory(dir=STATE, ignore_cleanup_errors=True) as folder:
        # However this process ends, the namespaces end with it.
        tied = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES]
        again = [sys.executable, __file__, "--inside", folder, *command]
        return subprocess.run([*tied, *again]).returncode


# What is prepared while there is a network.


def check_namespaces() -> None:
    try:
        done = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable("namespaces are Linux's, by `unshare` of util-linux") from error
    if done.returncode:
        raise Unavailable(f"namespaces need root: {done.stderr.strip()}")


def programs() -> None:
    """Put what takes the place of machines on PATH, from packages where it is not here."""
    os.environ["PATH"] = f"{debian.BIN}:{os.environ['PATH']}:/usr/sbin:/sbin"
    for name, *packages in PROGRAMS:
        debian.program(name, *packages)


def wheels() -> None:
    """What `pip install -c constraints.txt .` takes, and a `vllm` that leads to the one here."""
    folder = STATE / "wheels"
    stamp = folder / "made-for"
    project = (ROOT / "pyproject.toml").read_text()
    wanted = f"{sys.prefix}\n{CONSTRAINTS.read_text()}\n{project}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    print("gathering packages (a minute)", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--wheel-dir", folder, "-c", CONSTRAINTS]
    build = tomllib.loads(project)["build-system"]["requires"]
    done = subprocess.run([*pip, *build, ROOT], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"the packages of constraints.txt cannot be had: {done.stderr[-1000:]}")
    for own in folder.glob("rayjob-*.whl"):
        own.unlink()  # each machine builds it from what it was sent
    write_borrowed_vllm(folder, f"{pinned('vllm', CONSTRAINTS.read_text())}+cpu")
    stamp.write_text(wanted)


def write_borrowed_vllm(folder: Path, version: str) -> None:
    """A wheel by that name that puts the packages of this environment behind one's own.

    vLLM tells from its version that it is the build for the CPU.
    """
    here = [path for path in sys.path if path.endswith("site-packages")]
    info = f"vllm-{version}.dist-info"
    with zipfile.ZipFile(folder / f"vllm-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("vllm.pth", "".join(f"import site; site.addsitedir({p!r})\n" for p in here))
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


# What runs inside the namespaces.


def inside(folder: Path, command: Sequence[str]) -> int:
    """The machine of the person: starts the others, and runs the command."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "lan", "type", "bridge")
    run("ip", "addr", "add", f"{YOU}/24", "dev", "lan")
    run("ip", "link", "set", "lan", "up")
    own_folders(folder, "you")
    home = Path("/home/ubuntu")
    (home / ".ssh").mkdir(mode=0o700)
    key = home / ".ssh" / "rayjob.pem"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    shutil.copy(key.with_suffix(".pem.pub"), folder / "authorized_keys")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key")
    with S3Gateway(folder / "s3", buckets=BUCKETS, host=YOU) as s3:
        settings = {**SETTINGS, **s3.env}
        # A machine loses its power by `kill -9` of the process that its file names.
        (home / "machines").mkdir()
        for address in (HEAD, *WORKERS):
            number = start_node(folder, address, settings)
            (home / "machines" / address).write_text(f"{number}\n")
        checkout = home / "rayjob"
        copy_checkout(checkout)
        (checkout / "cluster.yaml").write_text(adapted((ROOT / "cluster.yaml").read_text(), key))
        write_profile(home, settings)
        install = "python3 -m venv ~/venv && ~/venv/bin/pip install -q -c constraints.txt ."
        login = ["bash", "--login", "-c"]
        run(*login, install, cwd=checkout, env=person(home))
        print(f"head {HEAD}, workers {', '.join(WORKERS)}", file=sys.stderr, flush=True)
        return subprocess.run(
            [*login, '"$@"', "-", *command], cwd=checkout, env=person(home)
        ).returncode


def person(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("TERM", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "USER": "ubuntu", "PATH": os.environ["PATH"]}


def start_node(folder: Path, address: str, settings: Mapping[str, str]) -> int:
    """A machine with an SSH daemon, on the network; it ends when its process is killed."""
    home = folder / address / "home"
    home.mkdir(parents=True)
    write_profile(home, settings)
    command = [*NAMESPACES, sys.executable, __file__, "--node", folder, address]
    with open(folder / address / "sshd.log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it has its namespaces
    here = f"lan{address.rpartition('.')[2]}"
    run("ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", process.pid)
    run("ip", "link", "set", here, "master", "lan", "up")
    return process.pid


def node(folder: Path, address: str) -> None:
    """Becomes the SSH daemon of a machine."""
    print("here", flush=True)
    while subprocess.run(["ip", "link", "show", "eth0"], capture_output=True).returncode:
        time.sleep(0.05)
    for device in ("lo", "eth0"):
        run("ip", "link", "set", device, "up")
    run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    # Leads nowhere; by it Ray tells which address is its own.
    run("ip", "route", "add", "default", "via", YOU)
    own_folders(folder, address)
    config = folder / address / "sshd_config"
    config.write_text(
        f"ListenAddress {address}\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nMaxSessions 100\n"
        # Of commands that no login shell runs, as rsync's.
        f"SetEnv PATH={debian.BIN}:/usr/bin:/bin\n"
    )
    sshd = str(shutil.which("sshd"))
    os.execv(sshd, [sshd, "-D", "-e", "-f", str(config)])


def own_folders(folder: Path, name: str) -> None:
    """Give this machine a /home, /tmp and /run of its own, and a user `ubuntu`."""
    kept = [ROOT, Path(sys.prefix), Path(sys.base_prefix)]
    for place, source in (("/home/ubuntu", "home"), ("/tmp", "tmp"), ("/run", "run")):
        (folder / name / source).mkdir(parents=True, exist_ok=True)
        cover(Path(place), folder / name / source, kept)
    Path("/run/sshd").mkdir()
    users = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in users if line.split(":")[0] not in ("root", "ubuntu", "sshd")]
    mine = ["ubuntu:x:0:0::/home/ubuntu:/bin/bash", "sshd:x:65534:65534::/run/sshd:/bin/false"]
    passwd = folder / name / "passwd"
    passwd.write_text("\n".join([*mine, *others, ""]))
    run("mount", "--bind", passwd, "/etc/passwd")


def cover(place: Path, source: Path, kept: Sequence[Path]) -> None:
    """Mount a folder over a top-level one, or over a new one in it; what is kept stays in view."""
    top = Path("/", place.parts[1])
    below = [path for path in kept if path.is_relative_to(top)]
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(handle(path)) for path in below]
        if place != top:
            run("mount", "-t", "tmpfs", "none", top)
            place.mkdir()
        run("mount", "--bind", source, place)
        for path, number in zip(below, handles, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            # Of what the handle holds: its name would lead to the new folder.
            here = f"/proc/{os.getpid()}/fd/{number}"
            run("mount", "--no-canonicalize", "--bind", here, path)


@contextlib.contextmanager
def handle(path: Path) -> Iterator[int]:
    number = os.open(path, os.O_PATH)
    try:
        yield number
    finally:
        os.close(number)


def write_profile(home: Path, settings: Mapping[str, str]) -> None:
    """A home folder: the packages, the settings, and an `apt` that has nothing to do."""
    path = [home / ".local/bin", Path(sys.base_prefix) / "bin", debian.BIN]
    lines = [f"export {name}={value}" for name, value in settings.items()]
    lines += ["export PATH=~/venv/bin:~/.local/bin:" + ":".join(map(str, path[1:])) + ":$PATH"]
    (home / ".bash_profile").write_text("\n".join([*lines, ""]))
    (home / ".bashrc").touch()
    (home / ".config/pip").mkdir(parents=True)
    pip = f"[global]\nno-index = true\nno-compile = true\nfind-links = {STATE}/wheels\n"
    (home / ".config/pip/pip.conf").write_text(pip)
    sudo = home / ".local/bin/sudo"
    sudo.parent.mkdir(parents=True)
    sudo.write_text("#!/bin/sh\n")
    sudo.chmod(0o755)


def adapted(text: str, key: Path) -> str:
    """cluster.yaml with Ray's `local` provider, which knows one type of worker."""
    config: dict[str, Any] = yaml.safe_load(text)
    del config["head_node_type"]
    engine = config.pop("available_node_types")["engine"]
    config["provider"] = {"type": "local", "head_ip": HEAD, "worker_ips": WORKERS}
    config["max_workers"] = len(WORKERS)
    config["auth"]["ssh_private_key"] = str(key)
    config["head_setup_commands"] = config["setup_commands"]
    config["worker_setup_commands"] = engine["worker_setup_commands"]
    config["setup_commands"] = []
    return yaml.safe_dump(config, sort_keys=False)


def copy_checkout(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def run(*command: object, **options: Any) -> None:
    subprocess.run([str(word) for word in command], check=True, **options)


if __name__ == "__main__":
    sys.exit(main())
