#!/bin/sh
# Print the interpreter from which `make setup` builds its environment: a CPython of this machine, of a version that the
# profile's lock is for, that can make one.
#
#   scripts/find_python.sh [INTERPRETER [VERSIONS]]
#
# INTERPRETER, when given and not empty, is the only one asked. VERSIONS are tried in order; without them 3.11 alone.
# First that fits: each python3.11 on PATH, the newest of pyenv's versions, uv's, python3. Each is
# run before it is believed: pyenv's shims are on PATH and refuse to start while their version is not selected, and
# Debian's python3 comes without the module that fills a new environment.
set -u
given=${1:-}
versions=${2:-3.11}
first=${versions%% *}

fits() {
  "$1" -c 'import sys, ensurepip, venv; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[1:])' $2 \
    > /dev/null 2>&1 < /dev/null
}

on_path() {
  printf '%s\n' "${PATH:-}" | tr ':' '\n' | while read -r folder; do
    if [ -x "${folder:-.}/$1" ]; then printf '%s\n' "${folder:-.}/$1"; fi
  done
}

of_pyenv() {
  ls -d "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/"python$1" 2> /dev/null | sort -rV
}

of_uv() {
  uv python find --no-project --system "$1" 2> /dev/null || true
}

candidates() {
  on_path "python$1"
  of_pyenv "$1"
  of_uv "$1"
  on_path python3
}

if [ -n "$given" ]; then
  if fits "$given" "$versions"; then
    printf '%s\n' "$given"
    exit
  fi
  echo "deepicd is locked for Python $versions and '$given' is another one, cannot build an environment, or is missing:" \
       "leave PYTHON away and one is looked for, or name another (make setup PYTHON=/path/to/python$first)" >&2
  exit 1
fi

found=$(for version in $versions; do candidates "$version"; done | while read -r candidate; do
  if fits "$candidate" "$versions"; then
    printf '%s\n' "$candidate"
    break
  fi
done)
if [ -n "$found" ]; then
  printf '%s\n' "$found"
  exit
fi
echo "deepicd is locked for Python $versions and none was found: not as python$first or python3 on PATH, not among pyenv's" \
     "versions, not by uv. Install one ('uv python install $first', 'pyenv install $first', or your system's" \
     "python$first with its venv package), or name it: make setup PYTHON=/path/to/python$first" >&2
exit 1
