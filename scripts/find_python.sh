#!/bin/sh
# Print the interpreter from which `make setup` builds .venv: a CPython 3.11 of this machine that can make one.
#
#   scripts/find_python.sh [INTERPRETER]
#
# INTERPRETER, when given, is the only one asked. Otherwise, first that fits: each python3.11 on PATH, the newest of
# pyenv's versions, uv's, python3. Each is run before it is believed: pyenv's shims are on PATH and refuse to start
# while their version is not selected, and Debian's python3 comes without the module that fills a new environment.
set -u
given=${1:-}

fits() {
  "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' > /dev/null 2>&1 < /dev/null
}

on_path() {
  printf '%s\n' "${PATH:-}" | tr ':' '\n' | while read -r folder; do
    if [ -x "${folder:-.}/$1" ]; then printf '%s\n' "${folder:-.}/$1"; fi
  done
}

of_pyenv() {
  ls -d "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.11*/bin/python3.11 2> /dev/null | sort -rV
}

of_uv() {
  uv python find --no-project --system 3.11 2> /dev/null || true
}

candidates() {
  on_path python3.11
  of_pyenv
  of_uv
  on_path python3
}

if [ -n "$given" ]; then
  if fits "$given"; then
    printf '%s\n' "$given"
    exit
  fi
  echo "deepicd is locked for Python 3.11 and '$given' is another one, cannot build an environment, or is missing:" \
       "leave PYTHON away and one is looked for, or name another (make setup PYTHON=/path/to/python3.11)" >&2
  exit 1
fi

found=$(candidates | while read -r candidate; do
  if fits "$candidate"; then
    printf '%s\n' "$candidate"
    break
  fi
done)
if [ -n "$found" ]; then
  printf '%s\n' "$found"
  exit
fi
echo "deepicd is locked for Python 3.11 and none was found: not as python3.11 or python3 on PATH, not among pyenv's" \
     "versions, not by uv. Install one ('uv python install 3.11', 'pyenv install 3.11', or your system's python3.11" \
     "with its venv package), or name it: make setup PYTHON=/path/to/python3.11" >&2
exit 1
