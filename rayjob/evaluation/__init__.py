"""Evaluation of captions: suites of scores, the judge that gives them, and their statistics.

Each suite turns captions into :class:`~rayjob.evaluation.scores.Score` rows (some computed,
some asked of a judge) and says by which :class:`~rayjob.evaluation.measures.Measure` rows
become figures. ``run.py`` reads top to bottom as an evaluation goes.
"""
