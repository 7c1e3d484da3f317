"""The other parts of the screen: each shows a part of the state."""
