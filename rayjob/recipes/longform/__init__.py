"""Captions of a thousand words and more (LongCaption-Agent)."""
