"""Programs that made the shipped weights, as torchvision's references; they are not installed."""
