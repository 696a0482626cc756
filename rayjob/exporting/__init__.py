"""Captions in the layouts that training tools open."""
