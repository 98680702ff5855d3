"""Graph in, graph out: loss, gradients, sparse update, dead code, calibration."""
