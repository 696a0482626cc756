"""The decoding process and its parent: what a process gives up before it reads a file that may be
hostile, and what is believed of its answers.
"""
