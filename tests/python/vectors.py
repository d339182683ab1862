"""The reference vectors as NumPy arrays, and distances in units of the last place."""

import csv
from pathlib import Path

import ml_dtypes
import numpy as np
from mish import _abi

FOLDER = Path(__file__).resolve().parents[1] / "reference"



def numpy_dtype(full_name):
    """NumPy's, or the one that ml_dtypes adds to it."""
    return np.dtype(getattr(ml_dtypes, full_name, full_name))


# name: element type, unsigned type of the same width
DTYPES = {
    dtype.name: (numpy_dtype(dtype.full_name), np.dtype(f"uint{8 * dtype.size}").type)
    for dtype in _abi.DTYPES
}


def load(name):
    """The columns of a file by their names."""
    dtype, bits = DTYPES[name]
    with open(FOLDER / f"{name}.csv", newline="") as file:
        rows = list(csv.reader(file))
    columns = zip(*rows[1:])
    return {
        head: np.array([int(cell, 16) for cell in column], bits).view(dtype)
        for head, column in zip(rows[0], columns)
    }


def ordered(values, name):
    """Numbers the floats in their order; both zeros are 0."""
    _, bits = DTYPES[name]
    sign = 1 << (values.dtype.itemsize * 8 - 1)
    pattern = values.view(bits).astype(object)
    return np.array([sign - p if p & sign else p for p in pattern.ravel()], object)


def distance(got, expected, name):
    """How many floats lie between two arrays, element by element; 0 for two NaNs."""
    apart = np.abs(ordered(got, name) - ordered(expected, name))
    both_nan = np.isnan(got.astype(np.float64)) & np.isnan(expected.astype(np.float64))
    return np.where(both_nan.ravel(), 0, apart)
