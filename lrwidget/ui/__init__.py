"""The screen: the only place that imports ipywidgets, bqplot or IPython."""
