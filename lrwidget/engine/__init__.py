"""The engine: everything except the screen. Needs numpy and torch, nothing of the notebook."""
