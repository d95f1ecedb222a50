# shellcheck shell=bash
# What the project's scripts share. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
dry_run=false
pip_options=(--disable-pip-version-check)
# A download of several GB needs its progress bar; a log file does not.
[[ -t 1 ]] || pip_options+=(--quiet)

say() { printf '==> %s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$1" >&2
  [[ $# -lt 2 ]] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# Runs a command, or with --dry-run prints it.
run() {
  if $dry_run; then
    printf 'would run:'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# The comment block at a script's top is its help.
print_help() { sed -n '2,/^$/{/^#/s/^# \{0,1\}//p}' "$1"; }

require_value() { [[ $# -ge 2 ]] || fail "option $1 needs a value" "see --help"; }

create_venv() {
  [[ -x $venv/bin/python ]] && return
  say "creating the virtual environment .venv"
  run python3 -m venv "$venv" || {
    rm -rf "$venv"
    fail "cannot create a virtual environment" "Debian's python3 needs the package python3-venv for it"
  }
}

# Installs a requirements file into .venv unless exactly these requirements have been installed before.
# pip_install_once <requirements file>
pip_install_once() {
  local file=$1 stamp
  stamp=$venv/.installed.$(cksum < "$file" | cut -d ' ' -f 1)
  [[ -e $stamp ]] && return
  create_venv
  say "installing ${file#"$root"/} into .venv"
  run "$venv/bin/python" -m pip install "${pip_options[@]}" -r "$file"
  run touch "$stamp"
}

# Runs CMake in a build folder unless it has been given all these options before; Ninja notices all other changes itself.
# configure_once <preset> <folder> <option>...
configure_once() {
  local preset=$1 folder=$2 stamp=$root/$2/.configured option is_new=false
  shift 2
  [[ -e $stamp && -e $root/$folder/build.ninja ]] || is_new=true
  for option in "$@"; do
    $is_new || grep -qxF -e "$option" "$stamp" || is_new=true
  done
  $is_new || return 0
  say "configuring $folder"
  (cd "$root" && run cmake --preset "$preset" -B "$folder" "$@")
  $dry_run || printf '%s\n' "$@" > "$stamp"
}

default_jobs() {
  local processors memory_jobs
  processors=$(nproc)
  # A file that includes torch takes up to 1 GB to compile.
  memory_jobs=$(awk '/^MemAvailable:/ { print int($2 / 1200000) }' /proc/meminfo)
  if [[ $memory_jobs -lt $processors ]]; then processors=$memory_jobs; fi
  if [[ $processors -lt 1 ]]; then processors=1; fi
  echo "$processors"
}
