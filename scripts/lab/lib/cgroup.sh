# shellcheck shell=bash
# One cgroup per board in every hierarchy, below piccolo-lab/<lab>: it limits nothing, but it is how the
# lab finds, freezes and kills all that belongs to a board, even after a crash of the scripts. Sourced by ../lab.

# With cgroup v2 alone there is one hierarchy; otherwise (v1, or hybrid) one per controller.
if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then CGROUP=2; else CGROUP=1; fi

hierarchies() {
  if ((CGROUP == 2)); then
    echo /sys/fs/cgroup
    return
  fi
  local dir
  for dir in /sys/fs/cgroup/*/; do
    if [[ -f ${dir}cgroup.procs && ! -f ${dir}cgroup.subtree_control && ! -L ${dir%/} ]]; then echo "${dir%/}"; fi
  done
}

# The hierarchy by which a board's processes are listed and frozen.
tracker() { if ((CGROUP == 2)); then echo /sys/fs/cgroup; else echo /sys/fs/cgroup/freezer; fi; }

# cgroup_make BOARD
cgroup_make() {
  local root dir part file
  while read -r root; do
    dir=$root
    for part in piccolo-lab "$NAME" "$1"; do
      if ((CGROUP == 2)); then
        # Delegate everything; a controller that is busy elsewhere is done without.
        for file in $(<"$dir/cgroup.controllers"); do
          echo "+$file" >"$dir/cgroup.subtree_control" 2>/dev/null || true
        done
      fi
      if [[ $root == */cpuset ]]; then
        mkdir -p "$dir/$part"
        for file in cpuset.cpus cpuset.mems; do cat "$dir/$file" >"$dir/$part/$file"; done
      fi
      dir=$dir/$part
      mkdir -p "$dir"
    done
  done < <(hierarchies)
}

# cgroup_procs [BOARD]: the pids of a board, or of the whole lab.
cgroup_procs() {
  local dir
  dir=$(tracker)/piccolo-lab/$NAME${1:+/$1}
  [[ -d $dir ]] || return 0
  find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

# The pids of whoever else holds a board's disks: an nsenter that waits, from outside, for its command in there.
disk_holders() {
  { grep -sl " $LAB/boards/${1:+$1/}" /proc/[0-9]*/mountinfo || true; } | cut -d/ -f3
}

# cgroup_enter BOARD: moves this (sub)shell, and so what it starts, into the board's cgroups.
cgroup_enter() {
  local root leaf=
  # Version 2 allows no processes beside child groups.
  if ((CGROUP == 2)); then
    leaf=/lab-init
    mkdir -p "/sys/fs/cgroup/piccolo-lab/$NAME/$1$leaf"
  fi
  for root in $(hierarchies); do
    echo "$BASHPID" >"$root/piccolo-lab/$NAME/$1$leaf/cgroup.procs" || die "cannot enter the cgroup of $1 in $root"
  done
}

frozen() { [[ $(<"$1/freezer.state") == "$2" ]]; }

# cgroup_freeze BOARD: every process of the board stops, between two instructions.
cgroup_freeze() {
  local dir
  dir=$(tracker)/piccolo-lab/$NAME/$1
  if ((CGROUP == 2)); then
    echo 1 >"$dir/cgroup.freeze"
    wait_until 10 "$1 freezes" grep -qx 'frozen 1' "$dir/cgroup.events"
  else
    echo FROZEN >"$dir/freezer.state"
    wait_until 10 "$1 freezes" frozen "$dir" FROZEN
  fi
}

cgroup_thaw() {
  local dir
  dir=$(tracker)/piccolo-lab/$NAME/$1
  [[ -d $dir ]] || return 0
  if ((CGROUP == 2)); then echo 0 >"$dir/cgroup.freeze"; else echo THAWED >"$dir/freezer.state"; fi
}

# cgroup_kill [BOARD]: kill -9 until nothing is left. Frozen processes die when they are thawed.
cgroup_kill() {
  local pids deadline=$((SECONDS + 20))
  while pids=$(cgroup_procs "${1:-}" && disk_holders "${1:-}") && [[ $pids ]]; do
    # shellcheck disable=SC2086 # a list of numbers
    kill -9 $pids 2>/dev/null || true
    local board
    for board in ${1:-$(board_names)}; do cgroup_thaw "$board"; done
    ((SECONDS < deadline)) || die "these processes of the lab do not die: ${pids//$'\n'/ }"
    sleep 0.01
  done
}

cgroup_gone() {
  local root dir
  for root in $(hierarchies); do
    dir=$root/piccolo-lab/$NAME${1:+/$1}
    if [[ -d $dir ]]; then find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
    if [[ -d $dir ]]; then return 1; fi
    rmdir "$root/piccolo-lab" 2>/dev/null || true # other labs may stand
  done
}

# cgroup_remove [BOARD]: after cgroup_kill. The kernel may need a moment to let go.
cgroup_remove() { wait_until 10 "the kernel removes the cgroups of ${1:-$NAME}" cgroup_gone "${1:-}"; }
