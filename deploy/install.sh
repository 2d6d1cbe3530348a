#!/bin/sh
# Installs the checkout SOURCE, with everything it needs, into a new virtual environment at TARGET: the one step of the
# image, and of a machine without containers. Needs Python with venv, and a package index.
set -eu
source=$1
target=$2
python3 -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check "$source[fleet]"
"$target/bin/pip" uninstall --quiet --yes pip # nothing is installed into it again
