"""Behind the screen: what is picked, planned, kept and running, and the one who writes the state."""
