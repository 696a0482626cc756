"""What runs on the driver: commands, the graph, recipes, the ledger and reports."""

__version__ = "0.1.0"
