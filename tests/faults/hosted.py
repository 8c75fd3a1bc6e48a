"""A small host for runs that are about everything but the models' cost: pictures that are drawn, a backbone of a few thousand
weights under CLIP's interface, a head that `palisade train head` makes of both, and a policy that reads only that head.

The backbone stands in for the dearest part of a scan, so that many images can be imported. All else is the real thing.
"""

import csv
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import PIL.Image
import PIL.ImageDraw
from onnx import TensorProto, helper, numpy_helper

from detectors.catalogue import catalogue
from detectors.embedding import EmbeddingDetector
from detectors.heads import BACKBONE, DIMENSIONS, EmbeddingHead, heads_in
from detectors.image import Frame
from detectors.preparation import PREPARATION
from detectors.runtime import Prepared, Runtime, file_sha256
from detectors.training.head import Row, embedded, train
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings
from tests.faults.installation import SECRET
from tests.hosts import Host

SIDE = 64
HEAD = "scene"
LABEL = f"head_{HEAD}"
POOLED = 8
"""The backbone sees the mean colours of so many squares to a side."""

FOLDER_SIZE = 1_000

OLD = {"hold": 0.005, "restrict": 0.02}
NEW = {"hold": 0.005, "restrict": 0.03}
"""Thresholds of the policy's two versions."""

POLICY = """name: hosted
version: {version}
description: Reads one head, and nothing that costs more than the embedding.
on_error: hold
on_skipped: allow
cascade: needed
rules:
  - name: certain
    when: {label}.fpr <= {hold}
    action: hold
    queue: scenes
    reason: It shows the scene.
  - name: probable
    when: {label}.fpr <= {restrict}
    action: restrict
    reason: It may show the scene.
examples:
  - name: nothing of it
    findings: {{{label}: {{fpr: 0.9}}}}
    action: allow
"""


def backbone() -> bytes:
    """An ONNX graph with CLIP's inputs and outputs: mean colours, projected at random."""
    random = np.random.default_rng(7)
    width = 3 * POOLED * POOLED
    weights = {
        "project": random.normal(0, width**-0.5, (width, DIMENSIONS)).astype(np.float32),
        "block": random.normal(0, width**-0.5, (width, 768)).astype(np.float32),
        "flat": np.array([1, width], np.int64),
        "one": np.array([1, 1, 768], np.int64),
        "twelve": np.array([1, 12, 1], np.int64),
    }
    stride = [224 // POOLED] * 2
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=stride, strides=stride),
        helper.make_node("Reshape", ["pooled", "flat"], ["colours"]),
        helper.make_node("MatMul", ["colours", "project"], ["image_embeds"]),
        helper.make_node("MatMul", ["colours", "block"], ["token"]),
        helper.make_node("Reshape", ["token", "one"], ["token_1"]),
        helper.make_node("Tile", ["token_1", "twelve"], ["blocks"]),
    ]
    shapes = {"pixel_values": [1, 3, 224, 224], "image_embeds": [1, DIMENSIONS], "blocks": [1, 12, 768]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    outputs = [values["image_embeds"], values["blocks"]]
    graph = helper.make_graph(nodes, "small", [values["pixel_values"]], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def make_models(folder: Path) -> None:
    """A folder of models: the small backbone in CLIP's place, all others as they were pulled."""
    folder.mkdir(parents=True)
    for path in sorted(settings().models.iterdir()):
        if path.is_file() and not path.name.startswith(BACKBONE):
            (folder / path.name).symlink_to(path.resolve())
    entry = catalogue()[BACKBONE]
    weights = folder / entry.file
    weights.write_bytes(backbone())
    Prepared(entry.sha256, PREPARATION, file_sha256(weights)).write(weights)


def draw(number: int) -> PIL.Image.Image:
    """The picture of a number: a few shapes on a ground, and the number as dark and light squares, so that no two are alike."""
    random = np.random.default_rng(number)
    image = PIL.Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in random.integers(0, 256, 3)))
    pen = PIL.ImageDraw.Draw(image)
    for _ in range(3):
        x, y, size = (int(value) for value in random.integers((0, 0, 8), (SIDE, SIDE, SIDE // 2)))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = pen.ellipse if random.random() < 0.5 else pen.rectangle
        shape((x - size // 2, y - size // 2, x + size // 2, y + size // 2), fill=colour)
    for bit in range(24):
        shade = 255 * (number >> bit & 1)
        pen.rectangle((2 * bit + 8, SIDE - 2, 2 * bit + 9, SIDE - 1), fill=(shade, shade, shade))
    return image


def name_of(number: int) -> str:
    return f"{number // FOLDER_SIZE:04}/{number:07}.png"


def draw_all(folder: Path, first: int, last: int) -> None:
    """Files of these numbers, those that are there left as they are."""
    for number in range(first, last):
        path = folder / name_of(number)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            draw(number).save(part, "PNG", compress_level=1)
            part.replace(path)


def write_manifest(path: Path, pictures: Path, first: int, last: int) -> None:
    """A manifest of `palisade import`."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "external_id", "surface"))
        writer.writerows(((pictures / name_of(n)).as_uri(), f"pic-{n}", "post") for n in range(first, last))


def write_policy(folder: Path, *, version: int, hold: float, restrict: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = POLICY.format(version=version, label=LABEL, hold=hold, restrict=restrict)
    (folder / "hosted.yaml").write_text(text)


def train_head(runtime: Runtime, folder: Path, *, seed: int) -> None:
    """Train the head as `palisade train head` does, on pictures whose upper half is warmer than a shade, and on others.

    seed: other examples and another shade make another head.
    """
    detector, random = EmbeddingDetector(runtime), np.random.default_rng(seed)
    shade, wanted = float(random.uniform(80, 110)), {True: 25, False: 40}
    rows, vectors = [], {}
    number = 1_000_000 * (seed + 1)
    while any(wanted.values()):
        pixels, number = np.asarray(draw(number)), number + 1
        warm = float((pixels[: SIDE // 2, :, 0].astype(float) - pixels[: SIDE // 2, :, 2]).mean()) > shade
        if wanted[warm]:
            wanted[warm] -= 1
            rows.append(Row(name_of(number), warm, name_of(number)))
            vectors[name_of(number)] = detector.embed([Frame(0, np.ascontiguousarray(pixels))])[0][0]
    train(HEAD, embedded(rows, vectors.__getitem__), folder, backbone=runtime.identity(BACKBONE), about="A warm scene.")


class Hosted:
    """A host's installation in a folder. count: its images. lease: seconds of a shard's."""

    def __init__(self, folder: Path, count: int, *, database: str, broker: str, host: Host, lease: int = 10) -> None:
        self.folder, self.count, self.host = folder, count, host
        keys = folder / "keys.json"
        if not keys.exists():
            names = ("IMAGE_KEYS", "PEOPLE_KEYS", "TAKEDOWN_KEYS")
            keys.write_text(json.dumps({f"PALISADE_{name}": new_secret("load") for name in names}))
        self.environment = {
            **json.loads(keys.read_text()),
            "PALISADE_DATA_DIR": str(folder / "data"),
            "PALISADE_MODELS_DIR": str(folder / "models"),
            "PALISADE_POLICIES_DIR": str(folder / "policies"),
            "PALISADE_POLICY": "hosted",
            "PALISADE_DATABASE_URL": database,
            "PALISADE_BROKER_URL": f"{broker}/0",
            "PALISADE_WEBHOOK_URL": f"{host.url}/",
            "PALISADE_WEBHOOK_SECRETS": SECRET,
            "PALISADE_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
            "PALISADE_SCAN_CONCURRENCY": "1",
            "PALISADE_CHORES_SECONDS": "1",
            "PALISADE_RESCAN_LEASE_SECONDS": str(lease),
            "PALISADE_LOG_LEVEL": "warning",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def application(self) -> Application:
        """As a process that starts now would have it."""
        names = {name.removeprefix("PALISADE_").lower(): value for name, value in self.environment.items()}
        return Application(Settings(_env_file=None, **{k: v for k, v in names.items() if k in Settings.model_fields}))

    @property
    def heads(self) -> Path:
        return self.folder / "models" / "heads"

    def head(self) -> EmbeddingHead:
        (kind,) = heads_in(self.heads)
        head = kind(Runtime(self.folder / "models"))
        assert isinstance(head, EmbeddingHead)
        return head

    def train(self, version: int) -> None:
        """Put this version of the head in its place."""
        train_head(Runtime(self.folder / "models"), self.heads, seed=version)

    def prepare(self) -> None:
        """Models, pictures, the first head and policy, and an empty database."""
        if not (self.folder / "models").exists():
            make_models(self.folder / "models")
            self.heads.mkdir()
        pictures = self.folder / "pictures"
        size = -(-self.count // 4)
        with ProcessPoolExecutor(2) as pool:
            parts = range(0, self.count, size)
            list(pool.map(draw_all, [pictures] * 4, parts, [min(first + size, self.count) for first in parts]))
        self.train(1)
        write_policy(self.folder / "policies", version=1, **OLD)
        app = self.application()
        app.database.migrate()
        if app.rescans.plans("default"):
            raise SystemExit(f"The run in {self.folder} was past its import: begin anew in another folder.")
        app.database.close()
