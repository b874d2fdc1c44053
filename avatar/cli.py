"""The command line: the options are dataclasses of `avatar.options`, the commands modules that are imported on use."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from typing import Any

import tyro

from avatar.errors import AvatarError
from avatar.memory import is_out_of_memory
from avatar.options import (
    Create,
    Demo,
    Doctor,
    Dub,
    EditMotion,
    Eval,
    Export,
    Heads,
    Models,
    Preprocess,
    Render,
    Takes,
    Train,
    View,
    Voices,
)

# Each command's options, and the function of `avatar.commands` that runs it.
COMMANDS: dict[str, tuple[type, str, str]] = {
    "demo": (Demo, "demo", "run"),
    "create": (Create, "create", "run"),
    "preprocess": (Preprocess, "create", "run_preprocess"),
    "takes": (Takes, "takes", "run"),
    "train": (Train, "create", "run_train"),
    "render": (Render, "render", "run"),
    "dub": (Dub, "dub", "run"),
    "motion": (EditMotion, "motion", "run"),
    "export": (Export, "export", "run"),
    "view": (View, "view", "run"),
    "eval": (Eval, "evaluate", "run"),
    "heads": (Heads, "heads", "run"),
    "models": (Models, "models", "run"),
    "voices": (Voices, "voices", "run"),
    "doctor": (Doctor, "doctor", "run"),
}
# What the file system refuses for reasons that are not ours.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``avatar``: exit code 2 for the user's fault, 1 for ours, 130 for Ctrl-C."""
    options: Any = tyro.extras.subcommand_cli_from_dict(
        {name: kind for name, (kind, _, _) in COMMANDS.items()},
        prog="avatar",
        description="A video of one person in, a talking 3D head avatar out.",
        args=arguments,
    )
    module, function = next(row[1:] for row in COMMANDS.values() if isinstance(options, row[0]))
    # torch's workers spin while they wait, which starves the rasteriser's own threads; its operations here are small.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        getattr(importlib.import_module(f"avatar.commands.{module}"), function)(options)
    except AvatarError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno in REFUSED and error.filename:
            sys.stderr.write(
                f"error: {error.filename} cannot be used.\n  Found: {error.strerror}.\n"
                "  To do: check what is there and who may read and write it, or choose another path.\n"
            )
        elif error.errno == errno.ENOSPC:
            sys.stderr.write("error: The disk is full.\n  To do: free some space and run the same command again.\n")
        else:
            raise
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sys.stderr.write(
            "error: There is not enough memory.\n"
            "  To do: close other programs or use a smaller --size, and run the same command again.\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Run the same command again to continue.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
