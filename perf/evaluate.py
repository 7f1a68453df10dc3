"""Evaluation of several models on a folder of photos: one pass of ours, timm's loop model after model, and the bare forward.

Run by hand, with nothing else on the machine:

    .venv/bin/python perf/evaluate.py --photos ../shared/photos

``--images`` photos are made from those given: distinct crops, saved as JPEG. The models have random weights from a fixed seed, so no
network is needed; all three parts run the same weights and, on the same files, must give the same top-5.

* timm: `timm.data.create_loader` with its own evaluation transforms, workers and prefetcher, then model after model in
  `torch.inference_mode()`, which is what timm's `validate.py` does.
* ours: `retest.stages.evaluate.run_evaluation`, as the command line calls it: hashing of the files, decoding in processes, export and
  check of the models, result files on the disk.
* bare: ONNX Runtime on normalised tensors in memory, no files and no decoding; the faster of one call with all cores and one
  single-threaded call per core.

Processor time is that of this process and its children; it says more than wall time where the machine is busy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODELS = ("resnet18", "resnet18d", "legacy_seresnet18", "resnet14t")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Took:
    """Seconds of wall time and of processor time (this process and its children that have ended)."""

    wall: float = 0.0
    processor: float = 0.0


@contextmanager
def measured(took: Took) -> Iterator[None]:
    wall, before = time.perf_counter(), os.times()
    yield
    after = os.times()
    took.wall += time.perf_counter() - wall
    took.processor += sum(after[:4]) - sum(before[:4])


def make_photos(source: Path, folder: Path, count: int) -> None:
    """``count`` distinct JPEG files in class folders: crops of the source photos at about their own size."""
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    for number in range(count):
        path = files[number % len(files)]
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        cut = number // len(files)
        box = (cut * rgb.width // 40, cut * rgb.height // 50, rgb.width - cut * rgb.width // 60, rgb.height - cut * rgb.height // 70)
        target = folder / path.name.partition("_")[0] / f"{path.stem}_{cut}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        rgb.crop(box).save(target, quality=90)


def timm_loop(name: str, module: Any, folder: Path, batch: int, took: Took) -> dict[str, np.ndarray]:
    """timm's validation of one model: image -> logits."""
    import timm
    import torch
    from timm.data import create_dataset, create_loader, resolve_model_data_config

    torch.set_num_threads(CORES)
    found = {}
    with measured(took):
        config = resolve_model_data_config(module, use_test_size=True)
        data = create_dataset("", str(folder))
        loader = create_loader(
            data, input_size=config["input_size"], batch_size=batch, use_prefetcher=True, interpolation=config["interpolation"],
            mean=config["mean"], std=config["std"], num_workers=CORES, crop_pct=config["crop_pct"], crop_mode=config["crop_mode"],
            pin_memory=False, device=torch.device("cpu"),
        )  # fmt: skip
        logits = []
        top1, top5 = timm.utils.AverageMeter(), timm.utils.AverageMeter()
        with torch.inference_mode():
            for pixels, target in loader:
                output = module(pixels)
                one, five = timm.utils.accuracy(output.detach(), target, topk=(1, 5))
                top1.update(one.item(), pixels.size(0))
                top5.update(five.item(), pixels.size(0))
                logits.append(output.numpy())
    for image, row in zip(data.filenames(basename=True), np.concatenate(logits), strict=True):
        found[image] = row
    return found


def ours(folder: Path, out: Path, took: Took, models: tuple[str, ...]) -> tuple[list[Any], Any]:
    from retest.models import EvaluateParameters, RunParameters, open_classifiers
    from retest.stages.evaluate import FolderResults, Machine, find_sets, run_evaluation

    classifiers = open_classifiers([f"timm:{name}@random" for name in models], run=RunParameters(device="cpu", threads=1))
    with measured(took):
        sets = find_sets([str(folder)])
        machine = Machine(workers=CORES, lanes=CORES)
        report = run_evaluation(sets, classifiers, FolderResults(out), parameters=EvaluateParameters(batches_ahead=2), machine=machine)
    return classifiers, report


def bare(classifiers: list[Any], folder: Path, count: int) -> tuple[float, str]:
    """Image-models per second of the fastest engine on tensors in memory, and how it was run."""
    from retest.images import load_rgb
    from retest.models.engines import export_onnx

    files = sorted(folder.rglob("*.jpg"))[:count]
    rates = {"one call with all cores": 0.0, "a single-threaded call per core": 0.0}
    for how, threads in zip(rates, (CORES, 1), strict=True):
        took, done = Took(), 0
        for classifier in classifiers:
            pixels = np.stack([classifier.preprocess(load_rgb(path.read_bytes())) for path in files])
            engine, _ = export_onnx(classifier.module, classifier.transform, pixels[:4], threads=threads)
            tensors = classifier.inputs(pixels)
            pieces = [tensors[start : start + 16] for start in range(0, len(tensors), 16)]
            run: Callable[[Any], Any] = engine._engine
            run(pieces[0])
            with ThreadPoolExecutor(1 if threads > 1 else CORES) as pool, measured(took):
                list(pool.map(run, pieces))
            done += len(tensors)
        rates[how] = done / took.wall
    best = max(rates, key=lambda how: rates[how])
    return rates[best], best


def compare(expected: dict[str, dict[str, np.ndarray]], report: Any) -> dict[str, Any]:
    """How often our five best classes are those of timm's logits, in order; and apart from ties below 1e-4."""
    same = near = total = 0
    for record in report.predictions:
        logits = expected[record.model.partition("@")[0]]
        for image, top in zip(record.image_ids, record.top, strict=True):
            row = logits[Path(image).name]
            best = np.argsort(-row, kind="stable")[:5]
            total += 1
            same += bool((best == top).all())
            near += bool((best == top).all() or np.abs(row[best] - row[top]).max() < 1e-4)
    return {"rows": total, "top5_equal": same, "top5_equal_but_for_ties": near}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEG photos")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--bare-images", type=int, default=192)
    parser.add_argument("--batch", type=int, default=64, help="timm's batch size")
    parser.add_argument("--models", default=",".join(MODELS), help="names of timm architectures, with commas")
    parser.add_argument("--without-timm", action="store_true", help="only compare with the bare forward")
    arguments = parser.parse_args()
    models = tuple(arguments.models.split(","))
    import torch

    from retest.models import open_classifiers

    folder = Path(tempfile.mkdtemp(prefix="retest-perf-"))
    try:
        make_photos(arguments.photos, folder / "photos", arguments.images)
        load = os.getloadavg()[0]
        first = Took()
        classifiers, report = ours(folder / "photos", folder / "out", first, models)
        theirs, expected = Took(), {}
        for name, classifier in (
            [] if arguments.without_timm else zip(models, open_classifiers([f"timm:{name}@random" for name in models]), strict=True)
        ):
            module = classifier.module.to(memory_format=torch.contiguous_format)
            expected[name] = timm_loop(name, module, folder / "photos", arguments.batch, theirs)
        rate, how = bare(classifiers, folder / "photos", min(arguments.bare_images, arguments.images))
        rows = arguments.images * len(models)
        result = {
            "cores": CORES, "load_before": round(load, 2), "models": models, "images": arguments.images,
            "ours_s": round(first.wall, 1), "ours_processor_s": round(first.processor, 1),
            "ours_image_models_per_s": round(rows / first.wall, 1), "bare_image_models_per_s": round(rate, 1), "bare": how,
            "share_of_bare": round(rows / first.wall / rate, 3),
            "engines": sorted({str(record.provenance["engine"]) for record in report.predictions}), "notes": report.notes,
        }  # fmt: skip
        if expected:
            result |= {
                "timm_s": round(theirs.wall, 1), "timm_processor_s": round(theirs.processor, 1),
                "timm_image_models_per_s": round(rows / theirs.wall, 1), "times_timm": round(theirs.wall / first.wall, 2),
                **compare(expected, report),
            }  # fmt: skip
        json.dump(result, sys.stdout, indent=1)
        print()
        digest = hashlib.sha256(b"".join(record.top.tobytes() for record in report.predictions)).hexdigest()
        print("top-5 of ours:", digest[:16])
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
