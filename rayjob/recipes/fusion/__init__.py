"""Structured captions become texts to train generators on (SkyCaptioner-V1's second stage)."""
