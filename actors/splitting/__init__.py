"""From a video to its segments: where it is cut, and how its pieces look and sound."""
