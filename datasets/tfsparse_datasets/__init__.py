"""Image data sets for the search: `load(name_or_folder)` gives training, validation and test parts as uint8 arrays.

The package lies in the folder `datasets/`, which is no package itself, so that nothing here is ever imported as
`datasets`. Importing it loads numpy only; Pillow and scikit-learn come in with the data sets that need them.
"""

from tfsparse_datasets.dataset import Dataset, Split
from tfsparse_datasets.loading import NAMES, load
from tfsparse_datasets.rules import RULES
from tfsparse_datasets.tree import Absent

__all__ = ["NAMES", "RULES", "Absent", "Dataset", "Split", "load"]
