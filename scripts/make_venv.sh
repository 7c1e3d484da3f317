#!/bin/sh
# make_venv.sh PYTHON FOLDER: a virtual environment, or one sentence that says what is missing.
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null; then
    echo "lrwidget needs Python 3.11 or newer, and '$python' is not on the PATH. Debian: apt-get install python3 python3-venv" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "lrwidget needs Python 3.11 or newer, and '$python' is $("$python" -V). Name a newer one: make PYTHON=python3.12 ..." >&2
    exit 1
fi

# Debian ships venv without ensurepip, in a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3-venv
    else
        echo "'$python' cannot make a virtual environment. Debian: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi

"$python" -m venv "$folder"
