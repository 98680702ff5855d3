"""Accuracy of whole trainings on this machine: the device's arithmetic, the paper's simulation."""
