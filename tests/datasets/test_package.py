"""The package must not stand in the way of the Hugging Face `datasets`, and must stay light."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_folder_is_no_package_of_its_own():
    assert not (ROOT / "datasets" / "__init__.py").exists()
    assert "tfsparse" not in packages_distributions().get("datasets", [])


def test_another_package_called_datasets_wins_even_in_our_root(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("WHOSE = 'theirs'\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import datasets; print(datasets.WHOSE)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "theirs\n", done.stderr


def test_importing_it_loads_nothing_heavy():
    code = "import sys, tfsparse_datasets; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "sklearn", "scipy", "PIL"} & set(done.stdout.split())
