"""The embedded world: rendered clips whose truth is known, and the tiny model that captions them.

Development only. Nothing here is imported by the product, and nothing here imports the product:
what the two share is files on disk (videos in, a checkpoint and prompt texts out).
"""
