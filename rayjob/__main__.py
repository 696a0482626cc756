"""``python -m rayjob``."""

from rayjob.cli import main

main()
