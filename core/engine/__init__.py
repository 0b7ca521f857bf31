"""Plan, tasks, reconcile loop, gather, lease."""
