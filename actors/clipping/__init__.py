"""A video or a segment of one, cut out as a file of its own."""
