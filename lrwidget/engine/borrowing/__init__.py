"""What a sweep borrows, and gives back bit for bit."""
