"""Training under a plan: steps, epochs, what is kept, and going on after a kill."""
