"""The loss chart: curves, markers, suggestions, and what takes the clicks."""
