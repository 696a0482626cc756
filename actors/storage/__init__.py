"""Reading what lies elsewhere, a range at a time."""
