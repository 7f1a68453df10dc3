"""retest: does my benchmark's test set still measure what it should?

Builds a new test set for an existing image-classification benchmark the way ImageNetV2 did for ImageNet, and puts
models to the test on it. Importing this package is light: rooms are imported when they are used.
"""

__version__ = "0.1.0"
