"""Where a run's settings come from: a file, flags, and how they are shown."""
