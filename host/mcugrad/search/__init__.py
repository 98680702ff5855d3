"""Which scheme to train: what each layer's training is worth, what it costs, and the search over both."""
