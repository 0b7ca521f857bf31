#!/bin/sh
# Installs crboost from the wheels beside this file. Needs Python 3.11 or newer and no network.
#
#   sh install.sh [FOLDER]          default: ~/crboost; PYTHON=/path/to/python3.11 names another Python
#
# FOLDER becomes a virtual environment; FOLDER/bin/crboost is the program.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$HOME/crboost}

if [ -z "${PYTHON:-}" ]; then
    for one in python3 @PYTHONS@; do
        if command -v "$one" > /dev/null 2>&1 &&
            "$one" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "@VERSIONS@".split())' 2> /dev/null; then
            PYTHON=$one
            break
        fi
    done
fi
if [ -z "${PYTHON:-}" ]; then
    echo "crboost needs one of these Pythons, and there is none on the PATH: @VERSIONS@" >&2
    echo "Say where one is: PYTHON=/path/to/python3.11 sh $0" >&2
    exit 2
fi
if [ -e "$folder" ] && [ ! -e "$folder/pyvenv.cfg" ]; then
    echo "$folder is there and is no virtual environment: name another folder." >&2
    exit 2
fi
"$PYTHON" -m venv --without-pip "$folder" || {
    echo "$PYTHON cannot make a virtual environment." >&2
    exit 2
}
# pip runs from its own wheel: a Python of a distribution often has none.
for pip in "$here"/wheels/pip-*.whl; do :; done
"$folder/bin/python" "$pip/pip" --quiet --disable-pip-version-check install --no-index \
    --find-links "$here/wheels" --force-reinstall "crboost==@CRBOOST@"
"$folder/bin/crboost" --version
echo "Put it on your PATH: ln -s $folder/bin/crboost ~/bin/"
