"""Generate the Python stubs of recalld.v1: `python proto/generate.py`, or `--check` to fail if they are stale.

buf compiles the protos to a descriptor set and grpc_tools turns that into Python. The detour keeps each field's
`json_name`, so that server reflection, and with it grpcurl, speaks camelCase as the other clients do. The version of
grpcio-tools is fixed because code it generates runs only with a protobuf at least as new as its own.

Needs buf (on PATH, or named by the environment variable BUF) and, in the running interpreter, grpcio-tools.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GRPC_TOOLS = "1.71.2"
PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "clients" / "python" / "recalld" / "v1"


def main() -> int:
    """Returns the exit code: 1 when `--check` finds a difference, else 0. Raises SystemExit when a tool is missing."""
    parser = argparse.ArgumentParser(description="Generate the Python stubs of recalld.v1.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the stubs are stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        stale = differences(fresh, STUBS)
        if check:
            sys.stderr.writelines(f"stale: {name}\n" for name in stale)
            return 1 if stale else 0
        STUBS.mkdir(parents=True, exist_ok=True)
        for name in stale:
            if (fresh / name).exists():
                shutil.copyfile(fresh / name, STUBS / name)
            else:
                (STUBS / name).unlink()
    return 0


def generate(scratch: Path) -> Path:
    """Writes all stubs below `scratch`; returns the folder of recalld.v1 in it."""
    buf = os.environ.get("BUF") or shutil.which("buf")
    if not buf:
        sys.exit("buf is not on PATH; install it or name it in BUF")
    try:
        found = importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != GRPC_TOOLS:
        sys.exit(f"needs grpcio-tools=={GRPC_TOOLS} in {sys.executable}, found {found}")
    image = scratch / "image.binpb"
    subprocess.run([buf, "build", PROTOS, "--as-file-descriptor-set", "-o", image], check=True)  # noqa: S603 our own arguments
    outputs = [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
    files = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("recalld/v1/*.proto"))
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={image}", *outputs, *files]
    subprocess.run(protoc, check=True)  # noqa: S603 our own arguments
    return scratch / "recalld" / "v1"


def differences(fresh: Path, stubs: Path) -> list[str]:
    """Names of generated files that are missing, left over or different in `stubs`, sorted."""
    names = {path.name for folder in (fresh, stubs) for path in folder.glob("*_pb2*.py*") if path.is_file()}
    _, changed, missing = filecmp.cmpfiles(fresh, stubs, sorted(names), shallow=False)
    return sorted([*changed, *missing])


if __name__ == "__main__":
    sys.exit(main())
