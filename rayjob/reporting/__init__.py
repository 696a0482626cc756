"""The report: one self-contained HTML page for a run, or for a comparison of runs.

::

    runs         which runs, and what they say about themselves
    reading      streams a run's tables, batch by batch
    statistics   figures over all rows, in memory that does not grow with them
    sampling     which videos are shown: a seeded choice that is the same in every run
    gallery      the sampled videos with their captions
    pictures     their frames and sound, decoded again
    scored       evaluation figures
    structured   structured answers as groups of chips
    charts       geometry of the charts; the templates draw it
    track        geometry of a video's time line
    throughput   charts over time
    facts        figures and settings in words
    page         puts it together, through the templates
"""
