"""What people write for a model, and what it means."""

import pytest

from retest.errors import NotFoundError, UsageError
from retest.models import PUBLISHED_MODELS, list_models, parse_model, parse_models

pytest.importorskip("torchvision")
pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("text", "kind", "name", "target", "weights"),
    [
        ("resnet50", "torchvision", "resnet50", "resnet50", "IMAGENET1K_V1"),
        ("torchvision:resnet50.IMAGENET1K_V2", "torchvision", "resnet50.IMAGENET1K_V2", "resnet50", "IMAGENET1K_V2"),
        ("convnext_tiny", "torchvision", "convnext_tiny.IMAGENET1K_V1", "convnext_tiny", "IMAGENET1K_V1"),
        ("timm:resnet50.tv_in1k", "timm", "resnet50.tv_in1k", "resnet50", "tv_in1k"),
        ("se_resnet50", "timm", "se_resnet50", "legacy_seresnet50", "in1k"),
        ("inception_v1_tf", "torchvision", "inception_v1_tf", "googlenet", "IMAGENET1K_V1"),
        ("timm:test_vit@random", "timm", "test_vit@random", "test_vit", "random"),
        ("folder/net.onnx", "onnx", "net", "folder/net.onnx", ""),
        ("mine=net.onnx", "onnx", "mine", "net.onnx", ""),
        ("resnet18=my.safetensors", "checkpoint", "resnet18", "torchvision:resnet18", "my.safetensors"),
        ("mine=timm:test_vit=my.pth", "checkpoint", "mine", "timm:test_vit", "my.pth"),
        ("my_models:load", "function", "my_models:load", "my_models:load", ""),
        ("mine=my.models:load", "function", "mine", "my.models:load", ""),
    ],
)
def test_every_form_is_read(text, kind, name, target, weights):
    spec = parse_model(text)
    assert (spec.kind, spec.name, spec.target, spec.weights) == (kind, name, target, weights)


def test_the_mapping_says_what_it_used():
    assert "se_resnet50 of the published study is timm:legacy_seresnet50.in1k today (same weights)" in parse_model("se_resnet50").note
    assert "299" in parse_model("inception_v3").note
    assert "timm has the same name: timm:convnext_tiny" in parse_model("convnext_tiny").note
    assert parse_model("torchvision:resnet50.IMAGENET1K_V1").note == ""


def test_the_67_published_names_and_the_45_that_exist_today():
    assert len(PUBLISHED_MODELS) == 67
    specs, notes = parse_models(["all"])
    assert len(specs) == 45
    assert [spec.name for spec in specs] == [name for name, model in PUBLISHED_MODELS.items() if model.today]
    (missing,) = [note for note in notes if "no equivalent" in note]
    assert missing.startswith("22 of the 67 published names have no equivalent today: ")
    for name in ("bninception", "fv_64k", "vgg_19_tf", "resnext101_32x4d"):
        assert name in missing
        with pytest.raises(NotFoundError, match=f"{name}: of the published study has no equivalent today"):
            parse_model(name)
    assert sum("of the published study is" in note for note in notes) == 45


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("resnet5O", NotFoundError, "resnet5O: there is no such model. Did you mean resnet50"),
        ("torchvision:resnet50.V9", NotFoundError, "there is no such weights of resnet50"),
        ("timm:resnet50.zz_in1k", NotFoundError, "there is no such weights of resnet50"),
        ("timm:nonsense_99", NotFoundError, "no such architecture in timm"),
        ("timm:resnet50@trained", UsageError, "@trained is unknown"),
        ("weights.safetensors", UsageError, "says nothing of the architecture"),
        ("hub:resnet50=a.pth", UsageError, "'hub' is no library"),
        ("a:b:c", UsageError, "is of no known form"),
        ("=x", UsageError, "names no model"),
        ("", UsageError, "names no model"),
    ],
)
def test_what_cannot_be_read_is_named(text, error, message):
    with pytest.raises(error, match=message):
        parse_model(text)


def test_lists_are_checked():
    specs, _ = parse_models(["resnet18", "resnet18", "a.onnx"], sidecars={"a": "a.json"})
    assert [(spec.name, spec.sidecar) for spec in specs] == [("resnet18", ""), ("a", "a.json")]
    with pytest.raises(UsageError, match="a: two different models have this name"):
        parse_models(["a.onnx", "other/a.onnx"])
    with pytest.raises(UsageError, match="b: a preprocessing is given for a model that is not among"):
        parse_models(["a.onnx"], sidecars={"b": "b.json"})
    with pytest.raises(UsageError, match="no model is left"):
        parse_models([])


def test_the_list_can_be_searched_and_every_name_in_it_can_be_read():
    import timm
    from torchvision import models

    rows = list_models()
    weights = sum(len(models.get_model_weights(arch)) for arch in models.list_models(module=models))
    assert len(rows) == 67 + weights + len(timm.list_models(pretrained=True))
    assert {name for name, _, _ in list_models("RESNET50 v2")} >= {"torchvision:resnet50.IMAGENET1K_V2", "timm:resnet50.tv2_in1k"}
    assert list_models("no such thing") == []
    for name, library, _ in rows[::40]:
        if library != "published":
            assert parse_model(name).kind == library
