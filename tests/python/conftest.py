"""The tests are of the package beside them, whatever is installed; with MISH_TEST_INSTALLED set,
of what is installed."""

import os
import sys
from pathlib import Path

if not os.environ.get("MISH_TEST_INSTALLED"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python"))
