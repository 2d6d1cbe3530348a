"""`recalld` as a reader of the pages has it: a server that is started ends once it is ready, a ledger is there before
commands that work on one, and KEY_ID stands for the id of the latest key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROGRAM = [sys.executable, "-m", "recalld_server"]
ON_A_LEDGER = ("keys", "doctor", "migrate", "projects rebuild-index", "projects reembed", "serve --host")


def main() -> int:
    arguments = sys.argv[1:]
    ledger = Path(os.environ["RECALLD_DATA_DIR"]) / "ledger.db"
    on_a_ledger = " ".join(arguments).startswith(ON_A_LEDGER) and "RECALLD_LEDGER" not in os.environ
    if on_a_ledger and "--new" not in arguments and not ledger.exists():
        if arguments[0] == "projects":  # one that a server has been on
            served(["serve"])
        else:
            subprocess.run([*PROGRAM, "keys", "create", "--new"], check=True, stdout=subprocess.DEVNULL)
    if "KEY_ID" in arguments:
        arguments[arguments.index("KEY_ID")] = latest_key()
    if arguments[:1] == ["serve"] and "--check" not in arguments:
        return served(arguments)
    return subprocess.run([*PROGRAM, *arguments], check=False).returncode


def latest_key() -> str:
    listed = subprocess.run([*PROGRAM, "keys", "list"], check=True, capture_output=True, text=True).stdout
    return listed.splitlines()[1].split()[0]


def served(arguments: list[str]) -> int:
    """Status of a server that was ended after it said that it is ready; 1 if it never did."""
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = False
        for line in server.stdout:
            sys.stdout.write(line)
            if re.match("recalld ready ", line):
                ready = True
                server.terminate()
        return server.wait() if ready else 1


if __name__ == "__main__":
    sys.exit(main())
