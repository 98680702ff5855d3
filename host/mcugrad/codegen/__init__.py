"""A planned graph -> C: one call per node, constants in flash, trained tensors in one struct."""
