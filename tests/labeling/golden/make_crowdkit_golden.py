"""Make crowdkit.json: run by hand where crowd-kit is installed (it is not a dependency of retest).

pip install crowd-kit==1.4.2 && python make_crowdkit_golden.py
"""

import json
from pathlib import Path

import crowdkit
import numpy as np
import pandas as pd
from crowdkit.aggregation import MACE, DawidSkene, OneCoinDawidSkene

rng = np.random.default_rng(20180917)
ITEMS, WORKERS, PER_ITEM = 120, 15, 8
truth = rng.random(ITEMS) < 0.5
right = np.stack([rng.uniform(0.7, 0.95, WORKERS), rng.uniform(0.6, 0.95, WORKERS)], axis=1)  # P(right | truth 0), P(right | truth 1)
right[0] = (0.9, 0.1)  # leaves nearly everything unselected
right[1] = (0.15, 0.85)  # selects nearly everything
rows = []
for item in range(ITEMS):
    for worker in rng.choice(WORKERS, PER_ITEM, replace=False):
        correct = rng.random() < right[worker, int(truth[item])]
        rows.append((item, int(worker), int(truth[item] if correct else not truth[item])))
# Sorted by worker, label 0 first: crowd-kit 1.4.2's MACE pairs habits (in sorted order) with workers and labels in order of
# appearance, so that its result is right only where the two orders agree.
rows.sort(key=lambda row: (row[1], row[2]))
data = pd.DataFrame(rows, columns=["task", "worker", "label"])


def posterior(model):
    probas = model.fit_predict_proba(data)
    return [float(value) for value in probas.sort_index()[1]]


Path(__file__).with_name("crowdkit.json").write_text(
    json.dumps(
        {
            "provenance": f"crowd-kit {crowdkit.__version__ if hasattr(crowdkit, '__version__') else '1.4.2'}, make_crowdkit_golden.py",
            "answers": rows,
            "truth": [int(value) for value in truth],
            "dawid_skene": posterior(DawidSkene(n_iter=500, tol=-1)),
            "one_coin": posterior(OneCoinDawidSkene(n_iter=500, tol=-1)),
            "mace": posterior(MACE(n_restarts=1, n_iter=1000, method="em")),
        }
    )
    + "\n"
)
