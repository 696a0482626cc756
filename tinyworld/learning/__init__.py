"""How the tiny model is trained: lessons, their losses, and the optimizer."""
