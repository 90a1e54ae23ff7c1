"""A model zoo of convolutional RNNs."""
