"""The range test: the sweep, its curve, and what is read off it."""
