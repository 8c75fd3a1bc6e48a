"""Most of the generator's tests need the `train` extra; without it they are not collected, and `tests/conftest.py` says so."""

from pathlib import Path

import pytest

from tests.conftest import missing_for_training

NEED_THE_EXTRA = [
    "test_commands.py",
    "test_datasets.py",
    "test_modes.py",
    "test_personalise.py",
    "test_pipelines.py",
    "test_protected.py",
    "test_training.py",
]

collect_ignore = NEED_THE_EXTRA if missing_for_training() else []


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
