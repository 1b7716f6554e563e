#!/usr/bin/env bash
# Pin the newest versions that requirements/*.in allow, each with its hashes.
#
# Called by `make pins`: tools/pin.sh <folder for an environment of its own>
# The indexes of this machine's pip configuration are not used, so that the hashes are the
# public ones, and no address of an index is written into the files.
set -euo pipefail

folder=$1
[ -x "$folder/bin/pip-compile" ] || {
    "${PYTHON:-python3}" -m venv --clear "$folder"
    "$folder/bin/python" -m pip --disable-pip-version-check --quiet install pip-tools
}

pin() {
    PIP_CONFIG_FILE=/dev/null env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL \
        "$folder/bin/pip-compile" --quiet --upgrade --allow-unsafe --strip-extras \
        --generate-hashes --resolver=backtracking --no-header --no-emit-index-url \
        --no-emit-find-links --no-emit-trusted-host \
        --output-file "requirements/$1.txt" "requirements/$1.in" "${@:2}"
}

# The demo's set is a part of the full one, at the same versions.
pin dev
grep -q '^async-timeout==' requirements/dev.txt || {
    echo "pinned without what the first releases of Python 3.11 need beside redis:" \
        "pin on one before 3.11.3, for example make pins PYTHON=/usr/bin/python3" >&2
    exit 1
}
pin demo --constraint requirements/dev.txt
