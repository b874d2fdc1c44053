"""A TensorFlow Lite model as a plain function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from avatar.errors import FormatError

LiteModel = Callable[[np.ndarray], list[np.ndarray]]


def load_lite(content: bytes, input_shape: tuple[int, ...], *, threads: int = 1) -> LiteModel:
    """Loads a model with one float input.

    Args:
        content: The tflite file's bytes.
        input_shape: What the caller will feed; anything else in the file raises FormatError.
        threads: CPU threads of the runtime.

    Returns:
        A function from the input, with or without its leading axis of one, to the outputs in the file's order.
    """
    interpreter: Any = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    entry, exits = interpreter.get_input_details()[0], interpreter.get_output_details()
    if tuple(entry["shape"]) != input_shape:
        raise FormatError("The model does not fit", expected=f"input {input_shape}", found=str(tuple(entry["shape"])))

    def run(values: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(entry["index"], np.ascontiguousarray(values, np.float32).reshape(input_shape))
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in exits]

    return run
