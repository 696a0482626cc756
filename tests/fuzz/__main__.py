"""``make fuzz``: damaged files through the decoding process; exit code 1 if anything is wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.campaign import run
from tests.fuzz.corpus import corpus

KEPT = Path("out/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; then 1 more each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(arguments.seed, arguments.seed + arguments.files)
        campaign = run(corpus(Path(folder)), seeds, Path(folder), kept=KEPT)
    print(campaign)
    for sentence in campaign.wrong:
        print(f"WRONG {sentence}")
    if campaign.wrong:
        print(f"the files are in {KEPT}; `python -m tests.fuzz --files 1 --seed N` repeats one")
    return int(bool(campaign.wrong))


if __name__ == "__main__":
    sys.exit(main())
