"""The contracts as code: errors, sampling plans, media, configuration and table schemas.

Imports nothing else of this project, so that workers, the driver and users' own
tools can all depend on it.
"""
