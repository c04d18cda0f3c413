"""Slow references of the network: the golden numbers' weight recipe, corner pooling's gradient in loops."""

import zlib

import numpy as np


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value the recipe gives the official parameter `name` (without "module."), float32 or int64."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    count = int(np.prod(shape))
    u = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).random(count)
    if len(shape) == 4:
        values = (2 * u - 1) * np.sqrt(6 / (shape[1] * shape[2] * shape[3]))
        if ("heats." in name or "tags." in name) and name.endswith(".1.weight"):
            values *= 6
    elif name.endswith("running_var"):
        values = 0.75 + 0.5 * u
    elif name.endswith("running_mean"):
        values = 0.1 * (2 * u - 1)
    elif name.endswith(".weight"):
        values = 0.5 * (0.75 + 0.5 * u)
    else:
        values = 0.1 * (2 * u - 1)
        if "heats." in name and name.endswith(".1.bias"):
            values -= 2.19
    return values.astype(np.float32).reshape(shape)


def corner_pool_gradient(grad: np.ndarray, x: np.ndarray, direction: str) -> np.ndarray:
    """The official backward pass, line by line: an output's gradient goes to the first cell that held its maximum."""
    result = np.zeros_like(grad, dtype=np.float64)
    vertical, from_end = direction in ("top", "bottom"), direction in ("top", "left")
    for index in np.ndindex(*x.shape[:2], x.shape[3] if vertical else x.shape[2]):
        line = (*index[:2], slice(None), index[2]) if vertical else (*index[:2], index[2], slice(None))
        values, gradients = x[line], grad[line]
        order = range(len(values) - 1, -1, -1) if from_end else range(len(values))
        holder = order[0]
        for cell in order:
            if values[cell] > values[holder]:
                holder = cell
            result[line][holder] += gradients[cell]
    return result
