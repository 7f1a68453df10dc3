"""A tiny tree in the published layout with every trap in it, built from literal JSON (not by retest's own writers)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np

WNIDS = ("n01440764", "n01443537", "n02012849", "n03126707")


def plain_id(photo, engine="flickr"):
    return hashlib.sha1((photo + engine).encode()).hexdigest()


def second_id(photo, wnid, engine="flickr"):
    return hashlib.sha1(f"{photo},{engine},{wnid}".encode()).hexdigest()


def reference_id(text):
    return hashlib.sha1(text.encode()).hexdigest()


def val(number):
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def search_row(photo, wnid, **changes):
    row = {
        "id_ours": plain_id(photo),
        "id_search_engine": photo,
        "url": f"https://farm1.staticflickr.com/1/{photo}_o.jpg",
        "url_type": "url_o",
        "wnid": wnid,
        "search_key": "tench",
        "search_engine": "flickr",
        "uploader": "becca",
        "date_upload_our_db": "2018-09-09 13:52:42",
        "date_taken": "2012-07-14 10:00:00",
        "date_upload_search_engine": "2012-08-01 05:38:27",
        "width": 1024,
        "height": 768,
        "max_taken_date": "2013-07-11",
        "max_uploaded_date": "2013-07-11",
        "min_taken_date": "2012-07-11",
        "min_uploaded_date": "2012-07-11",
        "search_sort": "date-posted-asc",
        "max_images": 200,
    }
    row.update(changes)
    return {key: value for key, value in row.items() if value != "ABSENT"}


def hit_row(uuid, wnid, label, pos, neg, **changes):
    return {
        "wnid": wnid,
        "images_to_label": label,
        "images_pos_control": pos,
        "images_neg_control": neg,
        "images_all": list(reversed([*label, *pos, *neg])),
        "user": "ubuntu",
        "uuid": uuid,
        "time": "2018-08-31 08:05:01.123456",
        "submitted": True,
        "hit_id": f"HIT-{uuid}",
        "hit_type_id": "TYPE",
        **changes,
    }


A, B, C, D = (plain_id(photo) for photo in ("101", "102", "103", "104"))
B2 = second_id("102", WNIDS[1])
ONLY_IN_HIT, ONLY_IN_REVISION, ONLY_EXCLUDED = (reference_id(text) for text in ("hit", "revision", "excluded"))


def documents():
    """Relative path -> JSON object of the tree."""
    many = [reference_id(f"many {number}") for number in range(42)]
    controls = [[val(number) for number in range(1, 4)], [val(number) for number in range(11, 14)]]
    return {
        "metadata/class_info.json": [
            {"cid": 0, "wnid": WNIDS[0], "synset": ["tench", "Tinca tinca"], "gloss": "freshwater fish"},
            {"cid": 1, "wnid": WNIDS[1], "synset": ["goldfish"], "gloss": "small golden fish"},
            {"cid": 2, "wnid": WNIDS[2], "synset": ["crane"], "gloss": "a bird"},
            {"cid": 3, "wnid": WNIDS[3], "synset": ["crane"], "gloss": "a machine"},
        ],
        "metadata/wnid_to_most_similar_wnids.json": {w: [w, *[o for o in WNIDS if o != w]] for w in WNIDS},
        "metadata/wikipedia_pages.json": {w: [f"https://en.wikipedia.org/wiki/{w}"] for w in WNIDS},
        "metadata/candidate_blacklist.json": {A: "composite image", ONLY_EXCLUDED: "drawing"},
        "metadata/near_duplicates.json": {A: [C, val(5), A], C: ["n01440764_10026.JPEG", "ILSVRC2012_test_00000007.JPEG"]},
        "metadata/near_duplicate_resolution_override.json": [C],
        "metadata/negative_val_wnids_for_mturk.json": {WNIDS[0]: WNIDS[1], WNIDS[1]: WNIDS[1]},
        "metadata/additional_pos_val_images_for_20_per_wnid.json": {
            WNIDS[0]: {"pos_control": [val(1)], "candidates": [reference_id("additional")], "neg_control": [val(11), val(12)]}
        },
        "metadata/nearest_neighbor_reviews_v2.json": {
            A: {
                "l2": {"reviewer": "ludwig", "date": "2018-08-26 18:51:00.765547", "references": [C, val(5)], "threshold": 10.0},
                "dssim": {"reviewer": "becca", "date": "2018-09-01 10:00:00.000001", "references": []},
            }
        },
        "metadata/nearest_neighbor_results.json": {
            A: {"l2": [[A, 0.0], [C, 30403.6487448464]], "dssim": [["n01440764_10026.JPEG", 0.4]]},
            B: {"fc7": [[B, 0.0], [A, 5], [C, 1e100]]},
        },
        "metadata/nearest_neighbor_results_test.json": {A: {"l2": [[C, 1.0]]}},
        "search_results/2018-09-09_b.json": [
            search_row("101", WNIDS[1], search_key="later"),  # a duplicate occurrence of A under another class
            search_row("102", WNIDS[0], width="500", height="333", date_upload_search_engine="1969-12-31 16:33:33"),
            search_row("103", WNIDS[0], width=None, height=None, date_upload_search_engine="2012-01-01 00:00:00"),
            search_row("103", WNIDS[0]),
        ],
        "search_results/2018-09-01_a.json": [search_row("101", WNIDS[0], batch="b1", url_type="ABSENT", min_taken_date="ABSENT")],
        "search_results/2018-09-17_ludwig_resolve_duplicates.json": [
            search_row("102", WNIDS[1], id_ours=B2, source_filename="2018-09-09_b.json"),
            search_row("999", WNIDS[1], id_ours=D),  # the id belongs to photo 104
        ],
        "hit_candidates/candidates_for_hit_2018-08-24-23-43-08.json": [A, B, ONLY_IN_HIT],
        "mturk/hit_data_live/vaishaal_hits_submitted_2018-08-31-08:05:01-UTC.json": [
            hit_row("u1", WNIDS[0], [*many[:40], A, ONLY_IN_HIT], *controls),
            hit_row("u2", WNIDS[1], [A, *many[:20]], controls[1][:2], controls[0][:2], time="2018-08-31 08:05:01.1-07:00"),
        ],
        "mturk/hit_data_live/becca_hits_submitted_2018-09-21-22:55:10-UTC.json": [
            hit_row("u3", WNIDS[0], many[:16], controls[0] * 1, controls[1], time="2018-08-31 08:05:01.1+0000"),
        ],
        "mturk/hit_data_live/2018-08-06_17:33_vaishaal.json": [
            hit_row("u4", WNIDS[0], many[:42], *controls, time="2018-08-31 08:05:01.1+00:00", user="vaishaal")
        ],
        "mturk/hit_blacklist_live.json": {"u3": "HIT with missing images", "nowhere": "HIT with missing images"},
        "mturk/results/2018-09-01.json": {
            "assignments": {
                "u1": {
                    "a1": answer("W1", "Approved", [A, many[0]]),
                    "a2": answer("W2", "Rejected", []),
                    "a3": answer("W3", "Submitted", [A, A]),
                },
                "unknown-hit": {"a4": answer("W1", "Approved", [A])},
            }
        },
        "mturk/results/2018-09-02.json": {
            "assignments": {
                "u1": {"a3": answer("W3", "Approved", [A]), "a5": answer("W4", "Expired", []), "a6": answer("W1", "Approved", [D])}
            }
        },
        "dataset_metadata/sampling_thresholds_a.json": {WNIDS[0]: 0.6, WNIDS[1]: 1},
        "datasets/imagenet-validation-original.json": {
            "sampling_function": "sample_val_dummy",
            "time_string": "2018-09-26_00:26:36_UTC",
            "username": "ludwig",
            "seed": 833009810,
            "image_filenames": [[val(number), WNIDS[0]] for number in range(1, 5)] + [[val(number), WNIDS[1]] for number in range(11, 15)],
            "output_filename": "imagenet-validation-original.json",
        },
        "datasets/imagenetv2-a-1.json": {
            "sampling_function": "sample_above_threshold",
            "target_size": 4,
            "selection_frequency_threshold": 0.7,
            "min_num_annotations": 10,
            "near_duplicate_review_targets": {"l2": 120000000.0, "dssim": 0.2205, "fc7": 13200.0},
            "time_string": "2018-12-13_10:26:51_UTC",
            "username": "ludwig",
            "seed": 7,
            "image_filenames": [[A, WNIDS[0]], [ONLY_IN_REVISION, WNIDS[1]], [B, WNIDS[1]]],
            "is_valid": False,
            "starting_from": "imagenetv2-a-0.json",
            "wnid_thresholds": {WNIDS[0]: 0.6},
            "output_filename": "imagenetv2-a-1.json",
        },
        "dataset_reviews/imagenetv2-a-1_review.json": {
            WNIDS[0]: {"problematic": True, "reviewed": True},
            WNIDS[1]: {"problematic": False, "reviewed": False},
        },
        "dataset_reviews/imagenetv2-b-9_review.json": {WNIDS[0]: {"problematic": False, "reviewed": True}},
    }


def answer(worker, status, selected):
    return {
        "WorkerId": worker,
        "AssignmentStatus": status,
        "AcceptTime": "2018-08-31 09:00:00+00:00",
        "SubmitTime": "2018-08-31 09:05:00+00:00",
        "Answer": selected,
    }


def arrays():
    """Relative path -> array of the tree."""
    best_first = np.array([[0, 1], [1, 0], [1, 2]], dtype=np.int64)
    return {
        "predictions/imagenetv2-a-1/resnet50.npy": best_first,
        "predictions/imagenetv2-a-1/fv_16k_model.npy": best_first[:, ::-1].astype(np.int32),
        "predictions/imagenetv2-a-1/alexnet.npy": best_first,
        "predictions/imagenetv2-a-1/alexnet_model.npy": best_first + 1,
        "predictions/imagenetv2-a-1/short.npy": best_first[:2],
        "predictions/imagenetv2-a-1/out_of_range.npy": best_first + 99,
        "predictions/imagenetv2-a-1/twice.npy": best_first * 0,
        "predictions/imagenetv2-c-3/resnet50.npy": best_first,
    }


def write_tree(folder: Path, *, changed=None, with_arrays=True):
    """Write the tree below ``folder/data``; ``changed`` replaces documents (bytes as they are, None removes)."""
    content = documents() | (changed or {})
    for path, value in content.items():
        if value is not None:
            place = folder / "data" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(value if isinstance(value, bytes) else json.dumps(value, indent=2).encode())
    for path, value in arrays().items() if with_arrays else ():
        place = folder / "data" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, value)
    return folder


def tar_tree(folder: Path, archive: Path, *, prefix="ImageNetV2-master/", extra=()):
    """Pack a tree as GitHub does, with ``extra`` TarInfo members."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "data", arcname=f"{prefix}data")
        for info, content in extra:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive
