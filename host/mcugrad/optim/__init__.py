"""Optimisers: they turn finished gradients into update nodes."""
