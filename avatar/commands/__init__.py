"""The commands behind ``avatar``: the one place, with cli.py, where stages meet."""
