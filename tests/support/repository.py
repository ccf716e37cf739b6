"""The folders of the repository that are run in place and not installed: benchmarks/ and results/."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
