"""What was picked as LRs of every step: plans, schedulers, programs."""
