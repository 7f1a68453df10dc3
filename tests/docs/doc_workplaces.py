"""Where a page of the documentation is run: the files it takes for granted, and the people and services it speaks of.

A workplace is a generator ``(folder, request) -> Page keywords``: it prepares the current folder, yields what the page needs to be told,
and tidies up. :data:`WORKPLACES` has those of all pages that take anything for granted.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from retest.cli import cli
from retest.study import open_study
from retest.study.config import format_config, parse_config
from retest.testing.imageserver import sample_image

TESTS = Path(__file__).resolve().parents[1]
for _room in ("benchmarks", "cifar", "datasets", "export", "sources", "stages", "web"):
    sys.path.append(str(TESTS / _room))

Workplace = Callable[[Path, pytest.FixtureRequest], Iterator[dict[str, Any]]]
CLASSES = {"n01440764": ["tench", "Tinca tinca"], "n01443537": ["goldfish", "Carassius auratus"]}
WORKER_KEY = "a key for tests only, 32 bytes.."


def retest(*arguments: object, **environment: str) -> str:
    done = CliRunner(env=environment).invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


def settings(study: Path, sections: dict[str, dict[str, Any]]) -> None:
    """Change single settings of a study, as somebody does with an editor."""
    file = study / "study.toml"
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    for name, values in sections.items():
        found[name] = {**found.get(name, {}), **values}
    file.write_text(format_config(parse_config(found, origin=file.name)), encoding="utf-8")


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def write_photos(folder: Path, *, val: int = 2, pool: int = 4) -> None:
    """photos/train, photos/val and photos/pool with images of two classes of ImageNet, and classes.json, which names them."""
    for row, wnid in enumerate(CLASSES):
        for part, count, seed in (("train", 2, 0), ("val", val, 100), ("pool", pool, 200)):
            place = folder / "photos" / part / wnid
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                sample_image(1000 * row + seed + number).save(place / f"{number}.jpg")
    info = [{"cid": n, "wnid": w, "synset": s, "gloss": "a fish", "wikipedia_pages": []} for n, (w, s) in enumerate(CLASSES.items())]
    (folder / "classes.json").write_text(json.dumps(info))


def begun(folder: Path, _request: pytest.FixtureRequest | None = None) -> Iterator[dict[str, Any]]:
    """``my-study``: the benchmark is registered, nothing is searched yet."""
    write_photos(folder)
    retest("init", "my-study", "--train", "photos/train", "--val", "photos/val", "--pool", "photos/pool", "--class-info", "classes.json")
    retest("benchmark", "--study", "my-study")
    yield {}


@contextmanager
def over_http(service: httpx.BaseTransport) -> Iterator[str]:
    """The address at which a service that lives in memory answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = f"http://127.0.0.1:{self.server.server_address[1]}"
            answer = service.handle_request(httpx.Request("GET", host + self.path, headers=dict(self.headers)))
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def collecting(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    next(begun(folder))
    retest("sample", "original", "--per-class", 1, "--name", "my-a-1", "--study", "my-study", "--allow-invalid")
    (folder / "urls.csv").write_text("url,wnid\nhttps://example.org/1.jpg,n01440764\n")
    yield {"namespace": {"__name__": "__main__", "FOLDER": str(folder / "photos/pool"), "TABLE": str(folder / "urls.csv")}}


def flickr(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    from retest.testing.flickr import FakeFlickr, sample_photos

    next(begun(folder))
    (folder / "wnids.txt").write_text("n01440764\n")
    with FakeFlickr([*sample_photos("tench", 30), *sample_photos("goldfish", 30, first_id=8_600_000_000)], key="my-key") as server:
        settings(folder / "my-study", {"source": {"kind": "flickr", "location": server.url}})
        yield {"study": folder / "my-study"}


def openverse(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    from test_sources_openverse import Service

    next(begun(folder))
    with over_http(Service(30)) as url:
        settings(folder / "my-study", {"source": {"kind": "openverse", "location": url}})
        yield {"study": folder / "my-study"}


def commons(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    from test_sources_commons import Service, item

    next(begun(folder))
    with over_http(Service([item(number) for number in range(30)])) as url:
        settings(folder / "my-study", {"source": {"kind": "commons", "location": url}})
        yield {"study": folder / "my-study"}


def recipes(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A page that changes the settings of ``my-study`` as it goes."""
    next(begun(folder))
    yield {"study": folder / "my-study"}


def url_table(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Photos at addresses that a server of this machine answers."""
    from retest.testing.imageserver import FaultyImageServer

    next(begun(folder))
    with FaultyImageServer(["ok", "ok", "ok", "not-found"]) as server:
        rows = [f"{server.url(number)},{list(CLASSES)[number % 2]},cc-by-2.0" for number in range(4)]
        (folder / "urls.csv").write_text("\n".join(["url,wnid,license", *rows, ""]))
        settings(folder / "my-study", {"download": {"allow_private": True, "first_wait_s": 0.1}})
        yield {"study": folder / "my-study"}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    pytest.importorskip("moto.server", reason="moto plays S3")
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    import boto3

    address = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="secret", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    yield {"AWS_ENDPOINT": address, "AWS_ALLOW_HTTP": "true", **keys}
    moto.stop()


def s3(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    next(begun(folder))
    with s3_server() as environment:
        yield {"study": folder / "my-study", "environment": environment, "names": {"https://s3.example.org": environment["AWS_ENDPOINT"]}}


def databases(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    from retest.testing.postgres import postgres_missing, postgres_server

    if reason := postgres_missing():
        pytest.skip(reason)
    next(begun(folder))
    with s3_server() as environment, postgres_server() as server:
        address = "postgresql+psycopg://retest@db.example.org/my_study"
        yield {"names": {address: server.create()}, "environment": environment}


@contextmanager
def fruit_study(folder: Path) -> Iterator[tuple[Path, int]]:
    """``my-study`` with planned HITs, and the port at which its server will be."""
    from web_server import make_study

    made = make_study(folder / "fruit")
    shutil.copytree(made, folder / "my-study")
    port = free_port()
    settings(folder / "my-study", {"crowd": {"backend": "server", "endpoint": f"http://127.0.0.1:{port}"}})
    yield folder / "my-study", port


def answer_all(study: Path, port: int, names: tuple[str, ...] = ("Ada", "Ben", "Cleo")) -> None:
    """Three people come in by their links and answer every task, in a hurry."""
    from web_annotator import Annotator

    url = f"http://127.0.0.1:{port}"
    for name in names:
        link = retest("label", "invite", "--study", study, "--name", name, "--public-url", url, RETEST_WORKER_KEY=WORKER_KEY).strip()
        person = Annotator(url)
        at_task = person.start(link)
        while at_task:
            at_task = person.submit(*range(len(name) % 3 + 1))


def labelling(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    request.getfixturevalue("monkeypatch").setattr("click.launch", lambda *_args, **_options: 0)
    with fruit_study(folder) as (study, port), closing(open_study(study)) as opened:
        with opened.database.read() as tables:
            uuid = next(iter(tables.hits.all())).uuid
        namespace = {"__name__": "__main__", "URL": f"http://127.0.0.1:{port}", "STUDY": str(study), "HIT": uuid}

        def decisions() -> None:
            with opened.database.read() as tables:
                ids = [assignment.id for assignment in tables.assignments.all()]
            (folder / "bad.csv").write_text(f"{ids[0]},every box was ticked\n{ids[1]}\n")
            (folder / "appeals.csv").write_text(f"{ids[0]}\n")

        yield {
            "port": port,
            "namespace": namespace,
            "names": {"HIT": uuid},
            "before": {"retest label progress": lambda: answer_all(study, port), "retest label reject": decisions},
            "answers": {"retest label reject": "y\n" * 3, "retest label approve": "y\n" * 3},
        }


def security(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    from web_server import ServeThread

    with fruit_study(folder) as (study, _), ServeThread(study) as server:
        settings(study, {"crowd": {"endpoint": server.url}})
        monkeypatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("RETEST_WORKER_KEY", WORKER_KEY)
        retest("label", "submit", "--study", study)
        answer_all(study, server.port, ("Ada", "ALICE", "Cleo"))
        retest("label", "collect", "--study", study)
        with server.study.database.read() as tables:
            candidate = next(iter(tables.candidates.all())).id
            ada = next(answer.worker for answer in tables.assignments.all() if len(answer.selected) == 1)
        yield {
            "names": {"worker-1f2e3d4c5b6a7988": ada, "IMAGE": candidate, "PLACE": "backup"},
            "answers": {"retest people forget": "y\n"},
        }


def publishing(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    datasets, _, _ = (pytest.importorskip(name) for name in ("datasets", "webdataset", "mlcroissant"))
    request.getfixturevalue("monkeypatch").setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    from export_study import make_export_study
    from layout_tree import write_tree

    write_tree(folder / "ImageNetV2")
    make_export_study(folder / "my-study", revisions=False)
    counts = {"n02": {"term 0": 2, "term 3": 1}, "n10": {"term 1": 1, "term 2": 1}, "n01": {"term 2": 3, "term 4": 1}}
    (folder / "counts.json").write_text(json.dumps(counts))
    yield {}


def data_classes(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    from released_sets import make_released

    demo = request.getfixturevalue("demo").out
    made = request.getfixturevalue("tmp_path_factory").mktemp("released")
    for name, source in (("demo-study", demo), ("released", make_released(made))):
        try:
            (folder / name).symlink_to(source, target_is_directory=True)
        except OSError:  # not everybody may make links
            shutil.copytree(source, folder / name)
    yield {}


def small_vgg() -> Any:
    import torch
    from torchvision.models import vgg

    torch.manual_seed(0)
    model = vgg.VGG(vgg.make_layers([2, "M", 2, "M", 2, "M", 4, "M", 4, "M"]), init_weights=False)
    nn = torch.nn
    model.classifier = nn.Sequential(
        nn.Linear(4 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2)
    )
    return model


def near_duplicates(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A study, two folders, and small stand-ins for published weights."""
    torch = pytest.importorskip("torch", reason="the page's featurisers need the extra 'models'")
    import numpy as np
    import stage_studies as tiny
    from PIL import Image

    tiny.ready_to_label(tiny.make_study(folder, review={"targets": {"l2": 1e9}})).close()
    (folder / "study").rename(folder / "my-study")
    shutil.rmtree(folder / "train")  # the benchmark's, which is stored already
    for part, seeds in (("train", range(6)), ("new", range(4, 8))):
        for seed in seeds:
            path = folder / part / "thing" / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(path)

    class Descriptor(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(x, 96).flatten(1), dim=1)

    torch.jit.script(Descriptor()).save(str(folder / "sscd.torchscript.pt"))
    torch.save(small_vgg().state_dict(), folder / "vgg16.pth")
    request.getfixturevalue("monkeypatch").setattr("torchvision.models.get_model", lambda name, weights: small_vgg())
    names: dict[str, str] = {}

    def choose() -> None:
        waiting = json.loads(retest("duplicates", "queue", "--study", "my-study", "--json"))["queue"]
        found = next(item for item in waiting if item["metric"] == "l2")
        names["CANDIDATE"] = found["candidate"]
        names["ID"] = found["neighbors"][0]["reference"]

    yield {"names": names, "before": {"retest duplicates decide": choose}}


def evaluating(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    for name in ("timm", "onnxruntime"):
        pytest.importorskip(name, reason="the page needs the extra 'models'")
    yield {}


def cifar(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    shutil.copytree(request.getfixturevalue("published_cifar"), folder / "CIFAR-10.1")
    (folder / "CIFAR-10.1" / "cifar10-test-labels.npy").rename(folder / "cifar10-test-labels.npy")
    yield {}


def reviewing(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    yield from begun(folder)


def prolific(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The server runs; three people come as Prolific sends them."""
    from web_annotator import Annotator

    with fruit_study(folder) as (study, port):
        finished: list[str] = []

        def participants() -> None:
            for number in range(3):
                person = Annotator(f"http://127.0.0.1:{port}")
                who = {"PROLIFIC_PID": f"{number:024x}", "STUDY_ID": "5f0000000000000000000001", "SESSION_ID": f"{number + 9:024x}"}
                at_task = person.start(f"{person.url}/prolific", who)
                while at_task:
                    at_task = person.submit(0)
                finished.append(str(person.page.url) + person.page.text)

        yield {
            "port": port,
            "study": study,
            "names": {"https://label.example.org": f"http://127.0.0.1:{port}"},
            "before": {"retest label progress": participants},
            "answers": {"retest label approve": "y\n"},
        }
        assert len(finished) == 3
        assert [text for text in finished if "C1A2B3C4" not in text] == []


def reports(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """``my-study`` is that of the demo: whole, with predictions on four test sets."""
    shutil.copytree(request.getfixturevalue("demo").study, folder / "my-study")
    yield {}


WORKPLACES: dict[str, Workplace] = {
    "cifar": cifar,
    "collecting": collecting,
    "data": data_classes,
    "evaluating": evaluating,
    "howto/commons": commons,
    "howto/flickr": flickr,
    "howto/folder": recipes,
    "howto/openverse": openverse,
    "howto/postgresql": databases,
    "howto/prolific": prolific,
    "howto/report": reports,
    "howto/s3": s3,
    "howto/table": url_table,
    "labelling": labelling,
    "near-duplicates": near_duplicates,
    "publishing": publishing,
    "reviewing": reviewing,
    "scale": databases,
    "security": security,
}


def nothing(_folder: Path, _request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    yield {}


@contextmanager
def workplace(name: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Prepare the current folder for a page, and tell what it needs."""
    before = dict(os.environ)
    making = WORKPLACES.get(name, nothing)(folder, request)
    try:
        yield next(making)
        next(making, None)
    finally:
        making.close()
        os.environ.clear()
        os.environ.update(before)
