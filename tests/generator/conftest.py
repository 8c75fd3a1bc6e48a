"""The generator's tests need the `train` extra; without it they are skipped, saying so."""

import importlib.util
import warnings
from pathlib import Path

import pytest

if missing := [n for n in ("torch", "diffusers", "transformers", "peft", "pyarrow") if not importlib.util.find_spec(n)]:
    collect_ignore_glob = ["test_*.py"]
    warnings.warn(f"tests/generator is skipped: {', '.join(missing)} not installed (extra `train`)", stacklevel=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of torch, diffusers and transformers about themselves are not ours to mend."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Stable Diffusion pipeline of random weights."""
    from tests.generator import tiny

    return tiny.stable_diffusion(tmp_path_factory.mktemp("pipeline"))
