"""The native library and the folder-to-package mapping; everything else is in pyproject.toml."""

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

PACKAGES = {
    "avatar": "avatar",
    "avatar.commands": "avatar/commands",
    "avatar.editing": "avatar/editing",
    "avatar.fields": "avatar/fields",
    "avatar.heads": "avatar/heads",
    "avatar.heads.adapters": "avatar/heads/adapters",
    "avatar.heads.build": "avatar/heads/build",
    "avatar.io": "avatar/io",
    "avatar.models": "avatar/models",
    "avatar.options": "avatar/options",
    "avatar.reporting": "avatar/reporting",
    "avatar.speech": "avatar/speech",
    "avatar.speech.build": "avatar/speech/build",
    "avatar.speech.text": "avatar/speech/text",
    "avatar.synthetic": "avatar/synthetic",
    "avatar.assets": "assets",
    "avatar.preprocess": "preprocess",
    "avatar.render": "render",
    "avatar.render.export": "render/export",
    "avatar.render.viewer": "render/viewer",
    "avatar.train": "train",
}

# Python builds extensions with -fwrapv, which turns loops over i - 3 and i + 3 into gathers: hence -fno-wrapv.
# No -ffast-math: in a shared library it can switch the whole process to flush-to-zero.
COMMON = [
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-wrapv",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-fvisibility=hidden",
    "-Wno-maybe-uninitialized",
    "-pthread",
]
X86 = {
    "baseline": ["-march=x86-64"],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mavx512vbmi2", "-mprefer-vector-width=512"],
}
# In double precision, for gradient checks: not fast, and never chosen for float32 tensors.
FLOAT64 = ["-DHEADSPLAT_FLOAT64", "-Wno-psabi"]
MISSING = """
warning: these C++ libraries could not be built: {names}.
  Without any of them, rendering and training run on plain torch, about 100 times slower.
  To do: install a C++17 compiler (`apt install g++`, or `xcode-select --install` on macOS) and install again.

"""
# pip goes on without them; who asks for the libraries alone wants to know why they do not build.
OPTIONAL = "build_ext" not in sys.argv
ARM64 = {"neon": []}
MACHINE = platform.machine().lower()
ISAS = X86 if MACHINE in {"x86_64", "amd64"} else ARM64 if MACHINE in {"aarch64", "arm64"} else {"baseline": []}
SOURCES = sorted(str(path) for path in Path("render/csrc").glob("*.cpp"))
HEADERS = sorted(str(path) for path in Path("render/csrc").glob("*.h"))


class NativeBuild(build_ext):
    """Builds one plain C-ABI library per instruction set; no Python or torch headers are involved."""

    def get_ext_filename(self, fullname):
        """Drops the Python ABI tag from the file name: the libraries are opened by ctypes."""
        suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
        return str(Path(*fullname.split("."))) + suffix

    def get_export_symbols(self, ext):
        """There is no module init function to export."""
        return []

    def run(self):
        """Builds what compiles; without the baseline library everything runs, on plain torch."""
        super().run()
        missing = [ext.name for ext in self.extensions if not self._output(ext).is_file()]
        if missing:
            sys.stderr.write(MISSING.format(names=", ".join(missing)))

    def build_extension(self, ext):
        """Keeps the objects of each instruction set apart: they come from the same sources."""
        shared = self.build_temp
        self.build_temp = str(Path(shared) / ext.name)
        try:
            super().build_extension(ext)
        except Exception:
            # A library of older sources must not pass for this one.
            built = self._output(ext)
            for path in (built, Path(PACKAGES["avatar.render"], built.name)):
                path.unlink(missing_ok=True)
            raise
        finally:
            self.build_temp = shared

    def _output(self, ext):
        return Path(self.get_ext_fullpath(ext.name))


class AnyPythonWheel(bdist_wheel):
    """The libraries depend on the platform and not on the Python version."""

    def get_tag(self):
        """One wheel serves every Python 3."""
        return "py3", "none", super().get_tag()[2]


setup(
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    ext_modules=[
        Extension(
            f"avatar.render._headsplat_{isa}",
            SOURCES,
            depends=HEADERS,
            extra_compile_args=[*COMMON, *flags],
            extra_link_args=["-pthread"],
            language="c++",
            optional=OPTIONAL,
        )
        for isa, flags in {**ISAS, "float64": FLOAT64}.items()
    ],
    cmdclass={"build_ext": NativeBuild, "bdist_wheel": AnyPythonWheel},
)
