"""What a run is about: videos listed, manifests, earlier captions, what is to do."""
