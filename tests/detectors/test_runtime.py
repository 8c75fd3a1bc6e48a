"""The catalogue, the preparation of graphs, and the runtime that loads them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from detectors.catalogue import CatalogueEntry, catalogue, read_catalogue
from detectors.errors import ModelError
from detectors.preparation import PREPARATION, prepare
from detectors.runtime import Prepared, Runtime, file_sha256

ROOT = Path(__file__).parents[2]


def entry(**changed: object) -> CatalogueEntry:
    values = {
        "title": "test",
        "file": "model.onnx",
        "sha256": "0" * 64,
        "bytes": 1,
        "licence": "MIT",
        "prepared": "as-is",
        "sources": [{"wheel": "a", "version": "1", "member": "a/model.onnx"}],
    }
    return CatalogueEntry.model_validate({**values, **changed})


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], *, inputs: dict[str, list[int]]) -> bytes:
    """A small ONNX model with one output `y` of two dimensions."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def test_every_entry_has_a_permissive_licence_and_a_source() -> None:
    for model in catalogue().values():
        assert model.licence in {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}
        assert model.sources


@pytest.mark.parametrize("field", ["sha256", "file", "prepared", "bytes"])
def test_an_unfit_catalogue_names_entry_and_field(tmp_path: Path, field: str) -> None:
    values = {**entry().model_dump(mode="json"), field: "../x y"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if key != "sources"]
    (tmp_path / "c.toml").write_text("[m]\n" + "\n".join(lines) + "\nsources = []\n")

    with pytest.raises(ModelError, match=field):
        read_catalogue(tmp_path / "c.toml")


def test_block_quantised_weights_become_the_floats_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(-128, 127, (4, 8), dtype=np.int8)
    scale, zero = rng.random((4, 2), dtype=np.float32), rng.integers(-5, 5, (4, 2), dtype=np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=1, block_size=4),
        helper.make_node("MatMul", ["x", "wf"], ["y"]),
    ]
    data = graph(nodes, {"w": stored, "s": scale, "z": zero}, inputs={"x": [1, 4], "wf": [4, 8]})

    session = ort.InferenceSession(prepare(data, "fold"))

    weight = (stored.astype(np.float32) - np.repeat(zero, 4, axis=1)) * np.repeat(scale, 4, axis=1)
    x = rng.random((1, 4), dtype=np.float32)
    assert [value.name for value in session.get_inputs()] == ["x"]
    assert np.allclose(session.run(None, {"x": x})[0], x @ weight, atol=1e-4)


def test_a_quantised_activation_is_not_folded() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    data = graph(nodes, {"s": np.float32(0.1), "z": np.int8(0)}, inputs={"x": [1, 4]})

    with pytest.raises(ModelError, match="activation"):
        prepare(data, "fold")


@pytest.mark.parametrize("how", ["fold", "clip-tower"])
def test_what_is_not_a_model_is_refused(how: str) -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        prepare(b"not a model", how)


def test_another_graph_than_clips_is_refused() -> None:
    data = graph([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [1, 4]})

    with pytest.raises(ModelError, match="12 transformer blocks"):
        prepare(data, "clip-tower")


def relu(folder: Path, **changed: object) -> Runtime:
    """A runtime with one small model in place."""
    (folder / "model.onnx").write_bytes(graph([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [1, 4]}))
    values = {"source": "0" * 64, "preparation": PREPARATION, "sha256": file_sha256(folder / "model.onnx"), **changed}
    Prepared(**values).write(folder / "model.onnx")
    return Runtime(folder, entries={"relu": entry()})


def test_a_session_is_loaded_once(tmp_path: Path) -> None:
    runtime = relu(tmp_path)

    assert runtime.session("relu") is runtime.session("relu")
    assert runtime.session("relu").run(None, {"x": np.array([[-1, 0, 1, 2]], np.float32)})[0].tolist() == [[0, 0, 1, 2]]


def test_identities_tell_preparations_apart() -> None:
    assert entry().identity("m") == "m@000000000000"
    assert entry(prepared="fold").identity("m") != entry(prepared="clip-tower").identity("m") != entry().identity("m")


def test_a_missing_model_names_the_command_that_pulls_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing") as refusal:
        Runtime(tmp_path, entries={"relu": entry()}).session("relu")

    assert refusal.value.hint == "Run `palisade models pull relu`."
    assert refusal.value.http_status == 503


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": "1" * 64}, "another file"),
        ({"preparation": PREPARATION - 1}, "another version"),
        ({"sha256": "2" * 64}, "expected 2222"),
    ],
)
def test_a_model_that_is_not_what_was_pulled_is_refused(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        relu(tmp_path, **changed).session("relu")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    runtime = relu(tmp_path)
    with (tmp_path / "model.onnx").open("ab") as stream:
        stream.write(b"x")

    with pytest.raises(ModelError, match="SHA-256"):
        runtime.session("relu")


def test_an_unknown_model_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'x'") as refusal:
        relu(tmp_path).identity("x")

    assert "relu" in refusal.value.hint


def test_loading_a_model_leaves_nothing_at_home_and_reports_nothing(tmp_path: Path) -> None:
    """Since 1.29 ONNX Runtime writes a device id below the home folder and uploads events: see decision 0001."""
    (tmp_path / "models").mkdir()
    relu(tmp_path / "models")
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from pathlib import Path; from detectors.runtime import Runtime\n"
        "r = Runtime(Path('models')); s = r.load(Path('models/model.onnx'))\n"
        "import numpy as np; s.run(None, {'x': np.zeros((1, 4), np.float32)})"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_", "CI"))}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        check=True,
    )

    assert list(home.rglob("*")) == []


def test_only_the_runtime_imports_onnx_runtime() -> None:
    """Another module that imported it first would switch its telemetry on."""
    importing = [
        path.relative_to(ROOT).as_posix()
        for package in ("api", "dashboard", "moderation", "detectors")
        for path in (ROOT / package).rglob("*.py")
        if "import onnxruntime" in path.read_text() or "from onnxruntime" in path.read_text()
    ]

    assert importing == ["detectors/runtime.py"]
