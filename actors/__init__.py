"""What runs on the workers: the decoder and the engine.

Imports only :mod:`schemas` of this project; knows nothing of commands, recipes or
where tables are written.
"""
