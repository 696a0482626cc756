"""Preparing requests: chat template and processor of media, here or in processes beside it."""
