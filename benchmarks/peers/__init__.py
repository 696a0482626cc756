"""The job beside other ways to caption the same clips: ``python -m benchmarks.peers``."""
