"""A run of any size on paper: ``python -m benchmarks.simulate``.

``inputs`` holds the numbers and where each comes from, ``limits`` how fast each part is alone,
``parts`` what a run is made of, ``run`` how these work together, ``outcome`` what comes of it, and
``real_runs`` what was measured of the same.
"""
