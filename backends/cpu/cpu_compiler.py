"""The C++ compiler that torch.compile needs on a CPU: which one, whether it works here, and its command line.

PyTorch 2.9 to 2.13 joins paths into one line and splits it again at spaces and apostrophes: a study in `/x/My Projects` or an
environment in `/x/Bob's` breaks every compilation there. `quote_paths` mends the line.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

TRIAL_SECONDS = 60.0  # a slow disk's first start of a compiler
# What Inductor's kernels include beyond PyTorch's own headers; Debian has Python.h in a package of its own.
TRIAL = '#include <Python.h>\n#include <omp.h>\nextern "C" int threads() { return omp_get_max_threads(); }\n'


def choose() -> tuple[bool, str]:
    """(whether torch.compile can work here, why)."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["cl"] if os.name == "nt" else ["g++", "clang++", "c++"]
    found = next((name for name in names if shutil.which(name)), None)
    if found is None:
        return False, f"torch.compile needs a C++ compiler on a CPU, and there is no {' or '.join(names)}; eager is slower"
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    has_worked = bool(cache) and any(Path(cache).glob("*"))  # what it has compiled lies there
    if sys.platform == "linux" and not has_worked and (failure := why_not(found)):
        return False, f"the C++ compiler {found} does not work here ({failure}); eager is slower"
    if _is_new(found):  # else Inductor tries it in each process, with test libraries: 1.2 s of every start
        os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
    if any(shlex.quote(path) != path for path in (sys.prefix, tempfile.gettempdir(), cache or ".")):
        quote_paths()  # elsewhere PyTorch's own line is right, and its builder is imported when something is compiled
    return True, f"a C++ compiler is there ({found})"


def why_not(compiler: str) -> str | None:
    """What it says to a library of three lines, made where this process may write; None when it works. A tenth of a second."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "trial.cpp")
        source.write_text(TRIAL)
        include = f"-I{sysconfig.get_path('include')}"
        command = [
            *shlex.split(compiler),
            "-shared",
            "-fPIC",
            "-fopenmp",
            include,
            str(source),
            "-o",
            str(Path(folder, "trial.so")),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TRIAL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{type(error).__name__}: {error}"[:200]
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        return None if done.returncode == 0 else (said or [f"status {done.returncode}"])[0].strip()[-200:]


def _is_new(compiler: str) -> bool:
    """GCC since 11 and clang since 12 know all that Inductor asks of an x86 CPU (AMX the latest)."""
    if sys.platform != "linux":
        return False
    asked = subprocess.run([*shlex.split(compiler), "-dumpversion"], capture_output=True, text=True, check=False)
    major = asked.stdout.partition(".")[0].strip()
    return major.isdigit() and int(major) >= 12


def quote_paths() -> None:
    """Quote what Inductor's builder puts into its line; where a path has nothing to quote, the line stays as it is."""
    if os.name == "nt":  # there it quotes
        return
    from torch._inductor import cpp_builder

    make = cpp_builder.CppBuilder.__init__
    if getattr(make, "quotes", False):
        return

    def made(self, name, sources, BuildOption, output_dir="", **more):
        make(self, name, sources, BuildOption, output_dir, **more)
        paths = [sources] if isinstance(sources, str) else sources
        self._sources_args = self._sources_args.replace(" ".join(paths), shlex.join(paths))
        folders = BuildOption.get_include_dirs()
        plain, quoted = ("".join(f"-I{each(folder)} " for folder in folders) for each in (str, shlex.quote))
        self._include_dirs_args = self._include_dirs_args.replace(plain, quoted)
        self._libraries_dirs_args = "".join(f"-L{shlex.quote(folder)} " for folder in BuildOption.get_libraries_dirs())
        header = BuildOption.precompiled_header
        if header:
            self._include_dirs_args = self._include_dirs_args.replace(f"-include {header} ", f"-include {shlex.quote(header)} ")
        target = self._target_file
        self._output = self._output.replace(target, shlex.quote(target))

    made.quotes = True
    cpp_builder.CppBuilder.__init__ = made
