"""A small study with real images, answers and licences, and its two revisions, for tests of exports and of the pages about them."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import closing
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from retest.cli import cli
from retest.images import make_variants
from retest.records import Candidate, ClassInfo, ImageVariant
from retest.sampling import CandidateFacts, OriginalFacts
from retest.stages._common import image_blob_key
from retest.study import StudyConfig, StudySettings, create_study
from retest.testing.synthetic import SyntheticFacts, fill_study

REVIEWED = {"l2": 1e100, "dssim": 1e100, "fc7": 1e100}
CLASSES = ("n02", "n10", "n01")  # on purpose not in the order of their class indices, which count up as listed


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def store_image(study, tables, image_id, data):
    for variant in make_variants(data, item=image_id, parameters=study.config.images).variants:
        key = image_blob_key(image_id, variant.name, study.config.images)
        study.blobs.put(key, variant.data)
        stored = ImageVariant(image_id, variant.name, key, variant.sha256, len(variant.data), variant.width, variant.height)
        tables.variants.put([stored])


def candidate_id(wnid, number):
    return hashlib.sha1(f"{wnid} {number}".encode()).hexdigest()


def run(folder, *arguments, code=0):
    done = CliRunner().invoke(cli, [*map(str, arguments), "--study", str(folder)])
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout) if "--json" in arguments else done.output


def make_export_study(folder: Path, *, revisions: bool = True) -> Path:
    """Three classes with eight candidates each, six usable ones per class, in ``folder``."""
    facts = SyntheticFacts(
        CLASSES,
        tuple(
            CandidateFacts(candidate_id(wnid, n), wnid, (n + 2) / 10, 10, excluded=n == 7, review_thresholds=REVIEWED)
            for wnid in CLASSES
            for n in range(8)
        ),
        tuple(OriginalFacts(f"val/{wnid}/img {n}.png", wnid, 0.5, 10) for wnid in CLASSES for n in range(2)),
    )
    with closing(create_study(folder, StudyConfig(study=StudySettings(name="small")))) as study:
        with study.database.write() as tables:
            # First come the records with owner and licence: the factory's plain ones do not replace them.
            tables.candidates.add(
                Candidate(
                    c.id,
                    c.wnid,
                    "flickr",
                    str(number),
                    f"https://example.org/{number}.jpg",
                    search_key=f"term {number % 7}",
                    date_taken=f"2013-0{1 + number % 9}-01 10:00:00",
                    license="CC BY 2.0" if number % 3 else None,
                    owner=f'Ann "{number}", Zoë',
                    title="a | title\nof two lines",
                    source_page=f"https://example.org/photos/{number}",
                )
                for number, c in enumerate(facts.candidates)
            )
        fill_study(study, facts)
        with study.database.write() as tables:
            tables.classes.put(ClassInfo(w, n, synset=(f"class, {n}",)) for n, w in enumerate(CLASSES))
            for number, image in enumerate((*facts.candidates, *facts.originals)):
                store_image(study, tables, image.id, picture(number))
    if revisions:
        run(folder, "sample", "top-images", "--per-class", 5, "--seed", 1, "--name", "small-c-1")
        run(folder, "sample", "original", "--per-class", 2, "--name", "small-val-0")
    return folder
