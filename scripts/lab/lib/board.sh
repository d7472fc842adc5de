# shellcheck shell=bash
# Boards: made, booted, shut down, cut off from power, entered. Sourced by ../lab.

# up_options ARG...: sets N (when positional), BASE, SWITCH, DATA_MB.
up_options() {
  N='' BASE=host SWITCH=bridge DATA_MB=2048
  while (($#)); do
    case $1 in
      --base) BASE=${2:-} && shift ;;
      --switch) SWITCH=${2:-} && shift ;;
      --data-mb) DATA_MB=${2:-} && shift ;;
      --base=* | --switch=* | --data-mb=*)
        set -- "${1%%=*}" "${1#*=}" "${@:2}"
        continue
        ;;
      -*) usage_error "unknown option \"$1\"" ;;
      *)
        [[ ! $N ]] || usage_error "too many arguments: \"$1\""
        N=$1
        ;;
    esac
    shift || usage_error "an option lacks its value"
  done
  [[ $BASE =~ ^(host|bookworm|trixie)$ ]] || usage_error "no base \"$BASE\": host, bookworm or trixie"
  [[ $SWITCH =~ ^(bridge|tap)$ ]] || usage_error "no switch \"$SWITCH\": bridge or tap"
  # 16 MB is the least on which ext4 makes a journal of any use.
  if [[ ! $DATA_MB =~ ^[1-9][0-9]{0,5}$ ]] || ((DATA_MB < 16)); then usage_error "bad --data-mb \"$DATA_MB\": 16 or more"; fi
}

cmd_up() {
  local board i
  up_options "$@"
  N=${N:-3}
  if [[ ! $N =~ ^[1-9][0-9]{0,2}$ ]] || ((N > MAX_BOARDS)); then usage_error "bad number of boards \"$N\": 1 to $MAX_BOARDS"; fi
  need_tools
  lock_lab
  ! stands || die "lab \"$NAME\" stands already: add boards with \"lab add\", or end it with \"lab down\"" 4
  if [[ $(namespaces) ]]; then
    die "namespaces $NS-* exist but $LAB knows nothing of them: another lab of the same name, or what is left of one (end it: lab down)" 4
  fi
  trap 'say "up failed, taking down what there is"; take_down' EXIT
  if [[ $BASE != host ]]; then "$here/rootfs" "$BASE" >/dev/null 8>&-; fi
  mkdir -p "$LAB/boards"
  echo "$SWITCH" >"$LAB/switch"
  : >"$LAB/faults"
  : >"$LAB/hosts"
  network_up "$SWITCH"
  for ((i = 1; i <= N; i++)); do make_board "board$i" "$BASE" "$DATA_MB"; done
  write_hosts
  for ((i = 1; i <= N; i++)); do boot_begin "board$i"; done
  for ((i = 1; i <= N; i++)); do boot_end "board$i"; done
  trap - EXIT
  for board in $(board_names); do echo "$board $(<"$LAB/boards/$board/address")"; done
}

cmd_add() {
  need_lab
  lock_lab
  up_options "$@"
  [[ ! $N ]] || usage_error "usage: lab add [--base BASE] [--data-mb MB]"
  local last next
  last=$(board_names | tail -n 1)
  next=$((${last#board} + 1))
  ((next <= MAX_BOARDS)) || die "a lab has at most $MAX_BOARDS boards"
  if [[ $BASE != host ]]; then "$here/rootfs" "$BASE" >/dev/null 8>&-; fi
  make_board "board$next" "$BASE" "$DATA_MB"
  write_hosts
  boot_begin "board$next"
  boot_end "board$next"
  echo "board$next"
}

# Two disks per board, as ext4 in sparse files: "system" holds the changes to the root file system and
# Podman's storage, "data" only Piccolo's data directory, so that its wear can be measured and its end tested.
make_board() {
  local dir=$LAB/boards/$1
  mkdir -p "$dir"
  echo "$2" >"$dir/base"
  echo "$NET.$((10 + ${1#board}))" >"$dir/address"
  make_disk "$dir/system.img" 8192
  make_disk "$dir/data.img" "$3"
  port_make "$1"
  port_address "$1"
}

# Said to be all zeros, which a new sparse file is, so that the kernel does not write zeros to it in its first minute.
make_disk() {
  truncate -s "${2}M" "$1"
  mkfs.ext4 -q -F -m 0 -E assume_storage_prezeroed=1,nodiscard "$1"
}

disks_free() {
  local disk
  for disk in system data; do
    if [[ $(losetup --noheadings --output NAME --associated "$LAB/boards/$1/$disk.img") ]]; then return 1; fi
  done
}

boot_begin() {
  local dir=$LAB/boards/$1 base lower=/
  base=$(<"$dir/base")
  if [[ $base != host ]]; then lower=$CACHE/$base; fi
  # Mounting an image that an earlier life of the board still holds would destroy it.
  wait_until 20 "$1's disks are free" disks_free "$1" || die "$1 cannot start: its last life still holds its disks"
  rm -f "$dir/up" "$dir/init.pid"
  mkdir -p "$dir/mnt"
  cgroup_make "$1"
  (
    cgroup_enter "$1"
    spawn "$dir/console.log" nsenter --net="/run/netns/$NS-$1" -- \
      unshare --cgroup --mount --uts --ipc --pid --fork --kill-child --propagation private \
      "$here/boot" "$1" "$base" "$lower" "$dir" "$(realpath -m "$BIN")" "$CGROUP"
    echo "$SPAWNED" >"$dir/outer.pid"
  )
}

boot_ready() {
  [[ -e $1/up ]] || ! kill -0 "$(<"$1/outer.pid")" 2>/dev/null
}

podman_ready() { inside "$1" test -S /run/podman/podman.sock; }

boot_end() {
  local dir=$LAB/boards/$1 outer
  outer=$(<"$dir/outer.pid")
  wait_until 20 "$1 boots" boot_ready "$dir" || true
  if [[ ! -e $dir/up ]]; then
    tail -n 5 "$dir/console.log" >&2
    die "$1 does not boot (its console is above)"
  fi
  tr -d ' ' <"/proc/$outer/task/$outer/children" >"$dir/init.pid"
  (board "$1" && disk_sectors >"$dir/sectors")
  wait_until 30 "Podman's socket on $1" podman_ready "$1" || die "$1 has no Podman service: $(tail -n 3 "$dir/console.log")"
}

# inside BOARD COMMAND...: in all its namespaces, but not in its cgroups. For the lab's own short questions.
inside() {
  local pid
  pid=$(<"$LAB/boards/$1/init.pid")
  shift
  nsenter -t "$pid" -m -u -i -n -p -C -- "$@"
}

cmd_start() {
  arguments 1 1 "start B" "$@"
  board "$1"
  lock_lab
  if running; then return; fi
  boot_begin "$B"
  boot_end "$B"
}

cmd_stop() {
  arguments 1 1 "stop B" "$@"
  board "$1"
  lock_lab
  shut_down
}

cmd_reboot() {
  arguments 1 1 "reboot B" "$@"
  board "$1"
  lock_lab
  shut_down
  boot_begin "$B"
  boot_end "$B"
}

# In order: systemd powers off; the small init of a host board asks its processes to end and gives them 10 s.
shut_down() {
  running || return 0
  cgroup_thaw "$B"
  if [[ $(<"$D/base") == host ]]; then
    kill -TERM "$(<"$D/init.pid")"
  else
    kill -s "$(($(kill -l RTMIN) + 4))" "$(<"$D/init.pid")"
  fi
  wait_until 30 "$B shuts down" not_running || say "$B does not shut down: its power is cut"
  board_dead
}

not_running() { ! running; }

# The board's processes and their mounts are gone; what is left is its network namespace and its files.
board_dead() {
  cgroup_kill "$B"
  rm -f "$D/init.pid" "$D/outer.pid" "$D/up" "$D/frozen"
  wait_until 20 "$B's disks are free" disks_free "$B"
  cgroup_remove "$B"
}

# Everything stops between two instructions, then the file systems are shut down without writing back what is
# only in memory (ext4's own means for testing this; 2 is GOING_FLAGS_NOLOGFLUSH), then nothing ever runs again.
cmd_power_cut() {
  arguments 1 1 "power-cut B" "$@"
  board "$1"
  lock_lab
  running || return 0
  cgroup_freeze "$B"
  local disk
  for disk in system data; do
    perl -e 'open(my $dir, "<", $ARGV[0]) or die "$ARGV[0]: $!\n"; my $flags = pack("L", 2);
             ioctl($dir, 0x8004587d, $flags) or die "EXT4_IOC_SHUTDOWN $ARGV[0]: $!\n";' \
      "/proc/$(<"$D/init.pid")/root/.lab/$disk" || say "$disk disk of $B: unsynced writes may survive this power cut"
  done
  board_dead
}

cmd_exec() {
  local detach=
  if [[ ${1:-} == -d || ${1:-} == --detach ]]; then
    detach=1
    shift
  fi
  (($# >= 2)) || usage_error "usage: lab exec [-d] B -- CMD..."
  local target=$1
  shift
  if [[ $1 == -- ]]; then shift; fi
  (($#)) || usage_error "usage: lab exec [-d] B -- CMD..."
  if [[ $target == switch ]]; then
    need_lab
    exec nsenter --net="/run/netns/$NS-sw" -- "$@"
  fi
  board "$target"
  need_running
  if [[ $(<"$D/base") == host ]]; then board_env+=("${host_env[@]}"); fi
  local enter=(nsenter -t "$(<"$D/init.pid")" -m -u -i -n -p -C -- env -i "${board_env[@]}" TERM="${TERM:-dumb}")
  if [[ $detach ]]; then
    # It becomes a child of the board's init, as a daemon does.
    "${enter[@]}" sh -c "$join_board"' && setsid "$@" &' sh "$@" </dev/null >>"$D/console.log" 2>&1
  else
    # nsenter forks to enter the pid namespace: the command must not outlive it when a caller kills it.
    exec "${enter[@]}" sh -c "$join_board"' && exec setpriv --pdeathsig TERM -- "$@"' sh "$@"
  fi
}

# Joins the board's cgroups from inside. Only the command does: an nsenter in there would be frozen with the board,
# and then nothing could end it.
if ((CGROUP == 2)); then
  join_board='mkdir -p /sys/fs/cgroup/lab-exec && echo 0 >/sys/fs/cgroup/lab-exec/cgroup.procs'
else
  # shellcheck disable=SC2016 # the board's shell expands it
  join_board='for group in /sys/fs/cgroup/*/cgroup.procs; do echo 0 >"$group" || exit; done'
fi

# What a root login on the board would have.
board_env=(
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root LANG=C.UTF-8
  PODMAN_IGNORE_CGROUPSV1_WARNING=1
)
# Without systemd there are no timers for health checks; Podman need not complain about it at every start.
readonly host_env=(DISABLE_HC_SYSTEMD=true)

cmd_shell() {
  arguments 1 1 "shell B" "$@"
  if [[ $1 == switch ]]; then cmd_exec switch -- bash; fi
  cmd_exec "$1" -- bash -l
}

cmd_console() {
  arguments 1 1 "console B" "$@"
  board "$1"
  cat "$D/console.log"
}

cmd_init_pid() {
  arguments 1 1 "init-pid B" "$@"
  board "$1"
  need_running
  cat "$D/init.pid"
}

cmd_ls() {
  arguments 0 0 "ls" "$@"
  need_lab
  local board state
  printf '%-10s %-15s %-9s %-8s %s\n' BOARD ADDRESS BASE STATE CABLE
  for board in $(board_names); do
    board "$board"
    state=off
    if running; then state=on; fi
    if [[ -e $D/frozen ]]; then state=frozen; fi
    printf '%-10s %-15s %-9s %-8s %s\n' "$B" "$(<"$D/address")" "$(<"$D/base")" "$state" "$([[ -e $D/unplugged ]] && echo out || echo in)"
  done
  sed 's/^/fault: /' "$LAB/faults"
}

cmd_down() {
  arguments 0 0 "down" "$@"
  if [[ ! -d $LAB && ! $(namespaces) ]]; then return; fi
  lock_lab
  take_down
}

take_down() {
  cgroup_kill
  local board
  for board in $(board_names); do
    wait_until 20 "$board's disks are free" disks_free "$board" || true
  done
  network_down
  cgroup_remove
  rm -rf "$LAB"
}
