"""Resolution of near-duplicates, written down sentence by sentence from the method (section 6); shares no code with retest.

Plain and slow on purpose. A candidate is a dict with id, wnid, photo (or None), frequency (or None) and excluded.
"""


def reachable(start, nodes, joined):
    seen = [start]
    for node in seen:
        for other in nodes:
            if other not in seen and joined(node, other):
                seen.append(other)
    return seen


def resolve_literally(candidates, pairs, originals, overrides, first=0.7, second=0.6, good_at=0.7):
    """candidate id -> (near_duplicate, sorted members of its component), for candidates in some component of two or more.

    Returns the string "error" instead when two listed members meet.
    """
    by_id = {c["id"]: c for c in candidates}
    nodes = sorted(set(by_id) | {x for pair in pairs for x in pair})

    def joined(a, b):
        if (a, b) in pairs or (b, a) in pairs:
            return True
        if a in by_id and b in by_id:
            return by_id[a]["photo"] is not None and by_id[a]["photo"] == by_id[b]["photo"]
        return False

    # good = non-excluded, labelled, frequency >= 0.7, counted over all candidates of the class, before resolution starts
    good = {}
    for c in candidates:
        good.setdefault(c["wnid"], 0)
        if not c["excluded"] and c["frequency"] is not None and c["frequency"] >= good_at:
            good[c["wnid"]] += 1

    outcome = {}
    for node in nodes:
        component = sorted(reachable(node, nodes, joined))
        if len(component) < 2 or node in originals:
            continue
        members = [
            by_id.get(x) or {"id": x, "wnid": "", "photo": None, "frequency": None, "excluded": False}
            for x in component
            if x not in originals
        ]
        if any(x in originals for x in component):
            outcome[node] = (True, component)
            continue
        listed = [m["id"] for m in members if m["id"] in overrides]
        if len(listed) >= 2:
            return "error"
        if len(listed) == 1:
            outcome[node] = (node != listed[0], component)
            continue
        score = {}
        for m in members:
            score[m["wnid"]] = 0
        for m in members:
            if not m["excluded"] and m["frequency"] is not None and m["frequency"] > score[m["wnid"]]:
                score[m["wnid"]] = m["frequency"]
        eligible = [w for w in score if score[w] >= first]
        if len(eligible) == 0:
            eligible = [w for w in score if score[w] >= second]
        if len(eligible) == 0:
            eligible = [sorted((score[w], w) for w in score)[-1][1]]
        chosen = sorted((good.get(w, 0), w) for w in eligible)[0][1]
        ranking = []
        for m in members:
            if m["wnid"] == chosen:
                frequency = m["frequency"]
                if m["excluded"] or frequency is None:
                    frequency = 0
                ranking.append((frequency, m["id"]))
        stays = sorted(ranking)[-1][1]
        outcome[node] = (node != stays, component)
    return outcome
