#!/bin/sh
# Refuse an environment that holds the other profile's packages; else write down whose it is.
#
#   scripts/claim_environment.sh ENVIRONMENT PROFILE
#
# The profiles have packages of the same names with other builds: one on top of the other is neither.
set -eu
environment=$1 profile=$2
held=""
if [ -e "$environment/.profile" ]; then
  held=$(cat "$environment/.profile")
elif [ -e "$environment/.stamp" ]; then
  held=cpu # built before this file was written
fi
if [ -n "$held" ] && [ "$held" != "$profile" ]; then
  echo "$environment holds the $held profile, and two profiles do not fit into one environment: name another" \
       "(make setup PROFILE=$profile VENV=.venv-$profile), or remove it first (make distclean VENV=$environment)" >&2
  exit 1
fi
printf '%s\n' "$profile" > "$environment/.profile"
