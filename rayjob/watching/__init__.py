"""What a run sees of itself: how it goes, whether it goes, and when it had better stop."""
