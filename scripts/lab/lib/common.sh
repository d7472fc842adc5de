# shellcheck shell=bash
# What every command of the lab shares: messages, arguments, where the state lies. Sourced by ../lab.

# The same network in every lab: their switches are separate network namespaces.
readonly NET=10.77.0
readonly GATEWAY=$NET.1
readonly MAX_BOARDS=200

die() {
  echo "lab: $1" >&2
  exit "${2:-1}"
}

usage_error() { die "$1 (see scripts/lab/lab --help)" 2; }

say() { echo "lab: $*" >&2; }

need_root() { ((EUID == 0)) || die "needs root: it makes namespaces, mounts and cgroups (try sudo)"; }

need_tools() {
  local tool
  for tool in podman conmon catatonit nft ip unshare nsenter setpriv curl mkfs.ext4 losetup perl flock; do
    command -v "$tool" >/dev/null || die "$tool is missing: run scripts/deps lab"
  done
}

# arguments MIN MAX USAGE ARG...: fails unless there are MIN to MAX of them.
arguments() {
  local min=$1 max=$2 form=$3
  shift 3
  (($# >= min && $# <= max)) || usage_error "usage: lab $form"
}

# wait_until SECONDS WHAT COMMAND...: polls the command, and fails saying WHAT did not happen.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    if ((SECONDS > deadline)); then
      say "gave up waiting: $what"
      return 1
    fi
    sleep 0.02
  done
}

# Sets LAB (the state directory) and NAME, from which all namespaces and cgroups derive.
open_lab() {
  LAB=${PICCOLO_LAB:-default}
  if [[ $LAB != */* ]]; then LAB=/var/lib/piccolo-lab/$LAB; fi
  LAB=$(realpath -m "$LAB")
  NAME=${LAB##*/}
  [[ $NAME =~ ^[a-z0-9][a-z0-9-]{0,31}$ ]] ||
    usage_error "bad lab name \"$NAME\": the last part of PICCOLO_LAB must be 1 to 32 of a-z, 0-9 and -"
  NS=pl-$NAME # prefix of the network namespaces
  CACHE=${PICCOLO_LAB_CACHE:-/var/cache/piccolo-lab}
  BIN=${PICCOLO_BIN:-$here/../../bin/piccolo}
  export PICCOLO_LAB=$LAB
}

stands() { [[ -s $LAB/switch ]]; }

need_lab() { stands || die "no lab \"$NAME\" stands (start one: lab up 3)"; }

# Commands that change the lab as a whole run one at a time. The descriptor must not reach the boards (see spawn).
lock_lab() {
  mkdir -p "$LAB"
  chmod 700 "$LAB"
  exec 8>"$LAB/lock"
  flock --timeout 60 8 || die "another lab command has been changing $LAB for a minute"
}

# spawn LOG COMMAND...: starts it in a session of its own, holding nothing of ours; its pid is in SPAWNED.
spawn() {
  local log=$1
  shift
  setsid "$@" </dev/null >>"$log" 2>&1 8>&- &
  SPAWNED=$!
}

board_names() {
  local dir
  for dir in "$LAB"/boards/*/; do
    [[ -d $dir ]] && basename "$dir"
  done | sort -V
}

# board ARG: sets B (its name) and D (its directory).
board() {
  need_lab
  B=$1
  if [[ $B =~ ^[0-9]+$ ]]; then B=board$B; fi
  D=$LAB/boards/$B
  [[ $B && -d $D ]] || die "no board \"$1\" (there are: $(board_names | paste -sd' '))" 3
}

running() { [[ -s $D/init.pid ]] && kill -0 "$(<"$D/init.pid")" 2>/dev/null; }

need_running() { running || die "$B is off (lab start $B)" 5; }
