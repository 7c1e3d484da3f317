"""A user's training loop: its batches, its step, its param groups."""
