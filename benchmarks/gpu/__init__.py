"""One GPU, models of real shapes with random weights: the job beside its engine alone."""
