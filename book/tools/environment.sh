#!/bin/sh
# Create a Python environment as requirements.lock says, with the package and the JavaScript of
# the book. Usage: environment.sh FOLDER
set -eu

venv=$1
enough='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
    for name in python3.11 python3 python3.12 python3.13; do
        if command -v "$name" >/dev/null && "$name" -c "$enough" 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "No Python 3.11 or newer was found: install it, then run make again." >&2
    exit 1
}

if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "Python's venv module is missing: install it (Debian, Ubuntu:" \
            "'apt-get install python3-venv'), then run make again." >&2
        exit 1
    fi
    echo "Creating $venv with $python (downloads about 0.6 GB or, for CUDA, 3 GB)."
    "$python" -m venv "$venv"
fi

"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
# The warning is about folders that hide a package of the same name; none does here.
PYTHONWARNINGS="ignore:Editable installation" "$venv/bin/python" -m pip install --quiet \
    --disable-pip-version-check --no-deps --no-build-isolation --editable .
"$venv/bin/python" -m book.tools.fetch_javascript
