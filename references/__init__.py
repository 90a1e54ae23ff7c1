"""Scripts that trained and evaluated the shipped weights, like torchvision's references; they are not installed."""
