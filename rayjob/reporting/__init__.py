"""The report: one self-contained HTML page for a run, or for a comparison of runs.

``page.py`` puts it together, and is read first.
"""
