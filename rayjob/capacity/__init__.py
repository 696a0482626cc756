"""What a cluster holds: engines, decoders, and what they cost."""
