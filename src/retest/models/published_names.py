"""The 67 models of the published study, and which of today's models each of them is.

Equivalence is graded: ``same weights`` (the very weight file, or torchvision's V1 weights that the study used), ``probable`` (the
same origin, a conversion of the same published weights), or none. A note says where preprocessing is known to differ.
"""

from __future__ import annotations

from dataclasses import dataclass

_TORCHVISION = (
    "alexnet", "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn",
    "vgg16_bn", "vgg19_bn", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121",
    "densenet161", "densenet169", "densenet201", "inception_v3",
)  # fmt: skip
_TIMM_SAME = {
    "se_resnet50": "legacy_seresnet50.in1k",
    "se_resnet101": "legacy_seresnet101.in1k",
    "se_resnet152": "legacy_seresnet152.in1k",
    "xception": "legacy_xception.tf_in1k",
    "inceptionv3": "inception_v3.tv_in1k",
}
_TIMM_PROBABLE = {
    "senet154": "legacy_senet154.in1k",
    "se_resnext50_32x4d": "legacy_seresnext50_32x4d.in1k",
    "se_resnext101_32x4d": "legacy_seresnext101_32x4d.in1k",
    "dpn68": "dpn68.mx_in1k",
    "dpn68b": "dpn68b.mx_in1k",
    "dpn92": "dpn92.mx_in1k",
    "dpn98": "dpn98.mx_in1k",
    "dpn107": "dpn107.mx_in1k",
    "dpn131": "dpn131.mx_in1k",
    "inceptionv4": "inception_v4.tf_in1k",
    "inceptionresnetv2": "inception_resnet_v2.tf_in1k",
    "nasnetalarge": "nasnetalarge.tf_in1k",
    "pnasnet5large": "pnasnet5large.tf_in1k",
    "inception_v3_tf": "inception_v3.tf_in1k",
    "inception_v4_tf": "inception_v4.tf_in1k",
    "inception_resnet_v2_tf": "inception_resnet_v2.tf_in1k",
    "nasnet_large_tf": "nasnetalarge.tf_in1k",
    "pnasnet_large_tf": "pnasnet5large.tf_in1k",
}
_NONE = (
    "bninception", "cafferesnet101", "fbresnet152", "nasnetamobile", "polynet", "resnext101_32x4d",
    "resnext101_64x4d", "inception_v2_tf", "mobilenet_v1_tf", "nasnet_mobile_tf", "pnasnet_mobile_tf",
    "resnet_v1_50_tf", "resnet_v1_101_tf", "resnet_v1_152_tf", "resnet_v2_50_tf", "resnet_v2_101_tf",
    "resnet_v2_152_tf", "vgg_16_tf", "vgg_19_tf", "fv_4k", "fv_16k", "fv_64k",
)  # fmt: skip
_NOTES = {
    "inception_v3": "the study resized to 299 pixels, torchvision's weights come with 342 and a crop of 299",
    "inception_v1_tf": "torchvision's googlenet is a port of the same TF-slim weights",
}


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A name of the published study; ``today`` is a model name for :func:`retest.models.parse_model`, None where there is none."""

    name: str
    today: str | None
    equivalence: str
    note: str = ""

    @property
    def message(self) -> str:
        """One line for people: which model stands for it."""
        if self.today is None:
            return f"{self.name} of the published study has no equivalent today"
        detail = f"; {self.note}" if self.note else ""
        return f"{self.name} of the published study is {self.today} today ({self.equivalence}{detail})"


def _table() -> dict[str, PublishedModel]:
    rows = [PublishedModel(name, f"torchvision:{name}.IMAGENET1K_V1", "same weights", _NOTES.get(name, "")) for name in _TORCHVISION]
    rows += [PublishedModel(name, f"timm:{today}", "same weights") for name, today in _TIMM_SAME.items()]
    rows += [PublishedModel(name, f"timm:{today}", "probable") for name, today in _TIMM_PROBABLE.items()]
    rows.append(PublishedModel("inception_v1_tf", "torchvision:googlenet.IMAGENET1K_V1", "probable", _NOTES["inception_v1_tf"]))
    rows += [PublishedModel(name, None, "none") for name in _NONE]
    return {row.name: row for row in sorted(rows, key=lambda row: row.name)}


PUBLISHED_MODELS = _table()
"""Published name -> :class:`PublishedModel`, sorted by name; 67 of them, 45 with an equivalent."""
