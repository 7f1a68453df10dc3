from dataclasses import fields

import pytest

from retest.errors import ConfigError
from retest.neighbors import NeighborParameters


def test_defaults_are_the_published_ones():
    parameters = NeighborParameters()
    assert (parameters.k, parameters.ssim_window, parameters.similar_classes) == (30, 35, 5)
    assert parameters.metrics == ("l2", "dssim")
    assert not parameters.mirrored


def test_every_field_explains_itself():
    assert all(field.metadata["help"] for field in fields(NeighborParameters))


@pytest.mark.parametrize(
    ("change", "item"),
    [
        ({"metrics": ()}, "metrics"),
        ({"metrics": ("l2", "l2")}, "metrics"),
        ({"metrics": ("",)}, "metrics"),
        ({"k": 0}, "k"),
        ({"k": 2.5}, "k"),
        ({"mirrored": "no"}, "mirrored"),
        ({"dssim_threshold": "0.2"}, "dssim_threshold"),
        ({"ssim_window": 1}, "ssim_window"),
        ({"ssim_window": 34}, "ssim_window"),
        ({"ssim_window": 183}, "ssim_window"),
        ({"similar_classes": -1}, "similar_classes"),
        ({"dssim_threshold": 1.1}, "dssim_threshold"),
        ({"dssim_prerank": 29}, "dssim_prerank"),
        ({"dssim_prerank": 100, "dssim_threshold": 0.2}, "dssim_prerank"),
        ({"query_block": 0}, "query_block"),
        ({"reference_block": 0}, "reference_block"),
    ],
)
def test_wrong_settings_are_named(change, item):
    with pytest.raises(ConfigError) as caught:
        NeighborParameters(**change)
    assert caught.value.item == item
    assert caught.value.remedy
