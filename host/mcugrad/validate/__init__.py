"""The same batch through every execution of a training step, tensor by tensor."""
