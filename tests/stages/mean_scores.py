"""A classifier that processes of their own import in a moment: what they unpickle brings its module with it."""

from __future__ import annotations

import numpy as np


class Mean:
    """Scores = mean colours."""

    name, fingerprint, preprocessing, num_classes, provenance = "mean", "mean", "mean", 3, {"device": "cpu"}

    def preprocess(self, rgb):
        return rgb.mean(axis=(0, 1)).astype(np.float32)

    def predict(self, batch):
        return batch
