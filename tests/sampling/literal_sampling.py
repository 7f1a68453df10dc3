"""The sampling rules written down sentence by sentence from the method (section 7); shares no code with retest.

Plain and slow on purpose: lists are sorted and searched again at every step. A candidate is a dict with id, wnid, f, n,
excluded, duplicate, thresholds (metric -> number). A previous revision is a list of (id, wnid). Every function returns
(images in order, is_valid).
"""

import random

TARGETS = {"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4}


def why_not(c, least, threshold, targets):
    if c["excluded"]:
        return "blacklisted"
    if c["n"] < least:
        return "few_assignments"
    if threshold is not None and not c["f"] >= threshold:
        return "below_threshold"
    if c["duplicate"]:
        return "near_duplicate"
    for metric in targets:
        reached = c["thresholds"].get(metric, 0)  # a missing record counts as threshold 0
        if not reached > targets[metric]:
            return "unreviewed"
    return None


def usable_of(wnid, candidates, least, threshold, targets):
    return [c for c in candidates if c["wnid"] == wnid and why_not(c, least, threshold, targets) is None]


def above_threshold(candidates, classes, per_class, seed, threshold, class_thresholds, least, targets, previous):
    rng = random.Random(seed)
    result = []
    valid = True
    for wnid in sorted(classes):
        limit = class_thresholds.get(wnid, threshold)
        usable_ids = [c["id"] for c in usable_of(wnid, candidates, least, limit, targets)]
        carried = []
        for image, of in previous:
            if of == wnid and image in usable_ids:
                carried.append(image)
        pool = sorted(i for i in usable_ids if i not in carried)
        need = per_class - len(carried)
        drawn = pool if need > len(pool) else rng.sample(pool, need)
        for image in carried:
            result.append((image, wnid))
        for image in drawn:
            result.append((image, wnid))
        if len(carried) + len(drawn) < per_class:
            valid = False
    rng.shuffle(result)
    return result, valid


def bin_of(f):
    if 0.8 <= f <= 1.0:
        return 4
    if 0.6 <= f < 0.8:
        return 3
    if 0.4 <= f < 0.6:
        return 2
    if 0.2 <= f < 0.4:
        return 1
    if 0.0 <= f < 0.2:
        return 0
    raise ValueError(f)


def histogram_targets(frequencies, per_class):
    count = [0, 0, 0, 0, 0]
    for f in frequencies:
        count[bin_of(f)] = count[bin_of(f)] + 1
    n = float(len(frequencies))
    if n == 0:
        return [0, 0, 0, 0, 0]
    q = [0.0] * 5
    target = [0] * 5
    for b in range(5):
        product = float(count[b]) * float(per_class)
        q[b] = product / n
        target[b] = int(q[b] // 1.0)
    got_extra = []
    while sum(target) + len(got_extra) < per_class:
        best = None
        for b in [4, 3, 2, 1, 0]:  # higher bin first: a lower one wins only when strictly larger
            if b in got_extra:
                continue
            if best is None or q[b] - target[b] > q[best] - target[best]:
                best = b
        got_extra.append(best)
    for b in got_extra:
        target[b] = target[b] + 1
    return target


def wnid_histogram(candidates, originals, classes, per_class, seed, least, least_val, least_images, targets, upward, previous):
    """``originals``: dicts with id, wnid, f, n."""
    rng = random.Random(seed)
    result = []
    valid = True
    for wnid in sorted(classes):
        frequencies = [o["f"] for o in originals if o["wnid"] == wnid and o["n"] >= least_val]
        if len(frequencies) < least_images:
            valid = False
        target = histogram_targets(frequencies, per_class)
        usable = usable_of(wnid, candidates, least, None, targets)
        frequency = {c["id"]: c["f"] for c in usable}
        in_previous = [image for image, of in previous if of == wnid]

        carried = {}
        for b in range(5):  # (1) for all bins first
            of_bin = [image for image in in_previous if image in frequency and bin_of(frequency[image]) == b]
            carried[b] = rng.sample(of_bin, target[b]) if len(of_bin) > target[b] else of_bin
        all_carried = [image for b in range(5) for image in carried[b]]

        drawn = {}
        for b in range(5):  # (2) then for each bin ascending
            pool = sorted(c["id"] for c in usable if bin_of(c["f"]) == b and c["id"] not in all_carried)
            need = target[b] - len(carried[b])
            drawn[b] = pool if need > len(pool) else rng.sample(pool, need)
        taken = [image for b in range(5) for image in drawn[b]]

        from_above = {b: [] for b in range(5)}
        if upward:  # (3)
            for b in range(5):
                while len(carried[b]) + len(drawn[b]) + len(from_above[b]) < target[b]:
                    pool = []
                    for higher in range(b + 1, 5):
                        pool = sorted(
                            c["id"] for c in usable if bin_of(c["f"]) == higher and c["id"] not in all_carried and c["id"] not in taken
                        )
                        if pool:
                            break
                    if not pool:
                        break
                    known = [image for image in pool if image in in_previous]
                    image = known[0] if known else rng.sample(pool, 1)[0]
                    from_above[b].append(image)
                    taken.append(image)

        emitted = 0
        for b in range(5):
            for image in carried[b] + drawn[b] + from_above[b]:
                result.append((image, wnid))
                emitted = emitted + 1
        if emitted < per_class:
            valid = False
    rng.shuffle(result)
    return result, valid


def best(candidates, classes, per_class, seed, least, targets, previous):
    rng = random.Random(seed)
    result = []
    valid = True
    for wnid in sorted(classes):
        ranking = []
        for c in usable_of(wnid, candidates, least, None, targets):
            ranking.append((c["f"], c["n"], (c["id"], wnid) in previous, c["id"]))
        ranking = sorted(ranking)[::-1][:per_class]
        for entry in ranking:
            result.append((entry[3], wnid))
        if len(ranking) < per_class:
            valid = False
    rng.shuffle(result)
    return result, valid


def val_annotated(originals, classes, per_class, seed, least):
    rng = random.Random(seed)
    result = []
    for wnid in sorted(classes):
        images = sorted(o["id"] for o in originals if o["wnid"] == wnid and o["n"] >= least)
        if len(images) < per_class:
            return wnid
        for image in sorted(rng.sample(images, per_class)):
            result.append((image, wnid))
    rng.shuffle(result)
    return result


def val_dummy(originals, classes, per_class, seed):
    rng = random.Random(seed)
    result = []
    for wnid in sorted(classes):
        images = sorted(o["id"] for o in originals if o["wnid"] == wnid)
        if len(images) < per_class:
            return wnid
        for image in sorted(rng.sample(images, per_class)):
            result.append((image, wnid))
    return result
