"""What lrwidget costs, measured beside the loop without it and beside the other finders. `make bench` runs it."""
