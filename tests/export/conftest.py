"""A small study with real images, answers, licences, and two revisions to export."""

from __future__ import annotations

import io
from contextlib import closing

import numpy as np
import pytest
from export_study import make_export_study, run
from PIL import Image


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    """Three classes with eight candidates each; six usable ones per class."""
    return make_export_study(tmp_path_factory.mktemp("export") / "study")


@pytest.fixture(scope="session")
def command(study_folder):
    """``command("export", ...)`` on the study; with ``--json`` the parsed answer."""
    return lambda *arguments, code=0: run(study_folder, *arguments, code=code)


@pytest.fixture(scope="session")
def revision(command):
    """The images of the revision in order: [(id, wnid), ...]."""
    return [tuple(pair) for pair in command("revision", "show", "small-c-1", "--json")["image_filenames"]]


@pytest.fixture(scope="session")
def pixels(study_folder):
    """image id -> the pixels of its stored JPEG."""
    from retest.images import variant_names
    from retest.study import open_study

    with closing(open_study(study_folder)) as study, study.database.read() as tables:
        full = variant_names(study.config.images)[0]
        return {v.image_id: np.asarray(Image.open(io.BytesIO(study.blobs.get(v.blob_key)))) for v in tables.variants.all(full)}


@pytest.fixture(scope="session")
def exported(command, tmp_path_factory):
    """form -> folder with the revision in it, made once."""
    made = {}

    def make(form):
        if form not in made:
            made[form] = tmp_path_factory.mktemp(form) / "out"
            command("export", "small-c-1", "--format", form, "--out", made[form])
        return made[form]

    return make
