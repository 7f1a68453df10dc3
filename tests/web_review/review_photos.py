"""A study of the sample photos, for the screenshots of the documentation: pages look like what people will see."""

from __future__ import annotations

import json
import os
import random
import shutil
from contextlib import closing
from pathlib import Path

from PIL import Image
from review_server import STAMP

from retest.labeling import HitParameters
from retest.records import Assignment, AssignmentStatus, Hit
from retest.sampling import SamplingParameters
from retest.sources import FolderSource
from retest.stages import benchmark, collect, images
from retest.stages._frequencies import refresh_frequencies
from retest.study import BenchmarkSettings, SourceSettings, StudyConfig, StudySettings, create_study

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "photos"
SHOWN = "dogs"
_SPANS = {
    "birds": (("n01514668", "n01622779"), ("n01795545", "n01860187"), ("n02002556", "n02058221")),
    "dogs": (("n02085620", "n02113978"),),
    "reptiles": (("n01629819", "n01756291"),),
}
"""Of which wnids the photos of a class are."""
_WITH_PEOPLE = ("bloodhound", "bull_mastiff", "Kerry_blue", "West_Highland")
DOGS = {
    "terrier": ("Bedlington", "Norfolk", "Kerry_blue", "Irish_terrier", "West_Highland", "Tibetan", "Border_terrier"),
    "hound": ("bloodhound", "coonhound", "whippet", "Ibizan", "otterhound", "Saluki", "borzoi"),
    "fox": ("red_fox", "kit_fox", "grey_fox"),
}
"""Classes of photos by what is in their names."""


def make_photo_study(folder: Path, *, classes: dict[str, tuple[str, ...]] | None = None) -> Path | None:
    """Three classes of sample photos (or these) with random answers; None where the photos are not there."""
    photos = sorted(path for path in PHOTOS.glob("n0*.JPEG") if not any(name in path.name for name in _WITH_PEOPLE))
    if len(photos) < 60:
        return None
    rng = random.Random(7)
    groups = {name: [p for p in photos if any(low <= p.name[:9] <= high for low, high in spans)] for name, spans in _SPANS.items()}
    if classes is not None:
        groups = {wnid: [p for p in photos if any(name in p.name for name in names)] for wnid, names in classes.items()}
    for wnid, members in groups.items():
        for number, photo in enumerate(members):
            part = "val" if number % 3 == 0 else "pool"
            for place in (part, "train") if number < 2 else (part,):
                (folder / place / wnid).mkdir(parents=True, exist_ok=True)
                shutil.copy(photo, folder / place / wnid / f"{place}-{photo.name}")
    glosses = {
        "birds": "warm-blooded egg-laying vertebrates with feathers",
        "dogs": "domesticated carnivores of the genus Canis, kept by people everywhere",
        "terrier": "a small lively dog, bred to drive game out of its burrow",
        "hound": "a dog used for hunting, typically with large drooping ears",
        "fox": "an alert carnivorous mammal with pointed muzzle and ears and a bushy tail",
    }
    info = [
        {"cid": i, "wnid": wnid, "synset": [wnid], "gloss": glosses.get(wnid, "cold-blooded vertebrates"), "wikipedia_pages": []}
        for i, wnid in enumerate(groups)
    ]
    (folder / "classes.json").write_text(json.dumps(info))
    (folder / "similar.json").write_text(json.dumps({wnid: [wnid, *(o for o in groups if o != wnid)] for wnid in groups}))
    config = StudyConfig(
        study=StudySettings(name="animals"),
        benchmark=BenchmarkSettings(
            train=str(folder / "train"),
            val=str(folder / "val"),
            class_info=str(folder / "classes.json"),
            similar_classes=str(folder / "similar.json"),
        ),
        source=SourceSettings(kind="folder", location=str(folder / "pool")),
        labeling=HitParameters(),
        sampling=SamplingParameters(per_class=8, min_num_val_images_per_wnid=2),
    )
    with closing(create_study(folder / "study", config)) as study:
        benchmark.register_benchmark(study)
        source = FolderSource(study.path(study.config.source.location), parameters=study.config.search)
        with closing(source):
            collect.search(study, source, stamp=STAMP)
            images.store_images(study, source.fetch, stamp=STAMP)
        with study.database.write() as tables:
            for wnid in groups:
                shown = [*tables.candidates.ids(wnid=wnid), *(i.id for i in tables.originals.all(wnid=wnid) if i.split == "val")]
                hit = Hit(f"hit-{wnid}", wnid, tuple(shown), (), (), tuple(shown), "tester", STAMP.time, submitted=True, hit_id=wnid)
                tables.hits.add([hit], assignments=10)
                liked = {image: rng.betavariate(3, 1) for image in shown}
                tables.assignments.add(
                    Assignment(
                        f"{wnid}-{j}", hit.uuid, f"w{j}", AssignmentStatus.APPROVED, tuple(i for i in shown if rng.random() < liked[i])
                    )
                    for j in range(10)
                )
            refresh_frequencies(tables)
            for metric in study.config.review.targets:
                tables.reviews.put_thresholds(metric, dict.fromkeys(tables.candidates.ids(), 1e100))
    return folder / "study"


def take_picture(page, name: str) -> None:
    """A picture of the page in the folder that RETEST_SCREENSHOTS names (if any), in 256 colours: they go into the repository."""
    if "RETEST_SCREENSHOTS" in os.environ:
        path = Path(os.environ["RETEST_SCREENSHOTS"]) / f"review-{name}.png"
        page.screenshot(path=path)
        with Image.open(path) as shot:
            small = shot.convert("RGB").quantize(256)
        small.save(path, optimize=True)
