# shellcheck shell=bash
# What can go wrong with boards and their network, and its end. The network's faults are lines in $LAB/faults
# (cut FROM TO, loss BOARD PERCENT, delay BOARD MS JITTER); after each change the switch gets them all anew, in
# one step. Sourced by ../lab.

# pids_named NAME: processes of the board that run this program; of piccolo only the daemon, not its commands.
pids_named() {
  local pid name=$1 program
  for pid in $(cgroup_procs "$B"); do
    program=$(readlink "/proc/$pid/exe" 2>/dev/null) || continue
    program=${program% (deleted)}
    [[ ${program##*/} == "$name" ]] || continue
    if [[ $name == piccolo ]] && ! tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxE 'run|init|join'; then continue; fi
    echo "$pid"
  done
}

# signal_named SIGNAL NAME
signal_named() {
  local pids
  pids=$(pids_named "$2")
  [[ $pids ]] || die "no process \"$2\" runs on $B" 3
  # shellcheck disable=SC2086 # a list of numbers
  kill -s "$1" $pids
}

cmd_freeze() {
  arguments 1 2 "freeze B [PROCESS|all]" "$@"
  board "$1"
  need_running
  if [[ ${2:-} == all ]]; then
    cgroup_freeze "$B"
    touch "$D/frozen"
  else
    signal_named STOP "${2:-piccolo}"
  fi
}

cmd_thaw() {
  arguments 1 2 "thaw B [PROCESS|all]" "$@"
  board "$1"
  need_running
  if [[ ${2:-} == all || -e $D/frozen ]]; then
    cgroup_thaw "$B"
    rm -f "$D/frozen"
  else
    signal_named CONT "${2:-piccolo}"
    # The nsenter of a `lab exec` stopped together with its command.
    local pid parent
    for pid in $(pids_named "${2:-piccolo}"); do
      parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
      if [[ $(cat "/proc/$parent/comm" 2>/dev/null) == nsenter ]]; then kill -s CONT "$parent"; fi
    done
  fi
}

cmd_kill() {
  arguments 1 2 "kill B [PROCESS]" "$@"
  board "$1"
  need_running
  signal_named KILL "${2:-piccolo}"
}

cmd_podman() {
  arguments 2 2 "podman B stop|start" "$@"
  board "$1"
  need_running
  local host=
  if [[ $(<"$D/base") == host ]]; then host=1; fi
  case $2 in
    stop)
      if [[ $host ]]; then
        inside "$B" touch /run/podman/stopped
        # Only the service: not the conmons and clients of the board.
        inside "$B" pkill -TERM -f '^podman system service' || true
        wait_until 20 "Podman's service on $B ends" podman_gone "$B"
      else
        inside "$B" systemctl stop podman.socket podman.service
      fi
      ;;
    start)
      if [[ $host ]]; then inside "$B" rm -f /run/podman/stopped; else inside "$B" systemctl start podman.socket; fi
      wait_until 20 "Podman's socket on $B" podman_ready "$B"
      ;;
    *) usage_error "usage: lab podman B stop|start" ;;
  esac
}

podman_gone() { ! podman_ready "$1"; }

cmd_containers() {
  arguments 1 2 "containers B [N]" "$@"
  board "$1"
  need_running
  local count=${2:-3} archive
  [[ $count =~ ^[123]$ ]] || usage_error "bad number of containers \"$count\": 1 to 3"
  archive=$("$here/images")
  on_board podman load --quiet >/dev/null <"$archive"
  on_board podman run -d --replace --name web --restart always -p 8080:8080 localhost/web:1 >/dev/null
  if ((count >= 2)); then on_board podman run -d --replace --name sensor localhost/sensor:1 >/dev/null; fi
  if ((count >= 3)); then on_board podman run -d --replace --name worker --memory 32m localhost/worker:1 >/dev/null; fi
  # Podman does not sync images and containers: a power cut in the next seconds would leave broken ones behind.
  on_board sync --file-system /var/lib/containers
}

# on_board COMMAND...: as `lab exec` runs it, in board B, from inside another command of the lab.
on_board() { (cmd_exec "$B" -- "$@"); }

disk_device() { losetup --noheadings --output NAME --associated "$D/data.img" | tr -d ' '; }

# The board's data disk, seen from outside it.
data_root() { echo "/proc/$(<"$D/init.pid")/root/.lab/data"; }

# Sectors written to the data disk, of 512 bytes always, ever since the kernel made the loop device.
disk_sectors() {
  local device
  device=$(disk_device)
  awk '{ print $7 }' "/sys/block/${device#/dev/}/stat"
}

cmd_disk() {
  arguments 1 1 "disk B" "$@"
  board "$1"
  need_running
  local device block blocks free
  device=$(disk_device)
  read -r block blocks free < <(stat --file-system --format '%S %b %f' "$(data_root)")
  printf 'device %s\nsize %s\nused %s\nwritten %s\n' "$device" $((block * blocks)) $((block * (blocks - free))) \
    $((($(disk_sectors) - $(<"$D/sectors")) * 512))
}

cmd_disk_full() {
  arguments 1 2 "disk-full B [--undo]" "$@"
  board "$1"
  need_running
  local disk block free
  disk=$(data_root)
  case ${2:-} in
    --undo) rm -f "$disk/fill" ;;
    '')
      read -r block free < <(stat --file-system --format '%S %a' "$disk")
      fallocate -l $((block * free)) "$disk/fill" 2>/dev/null || true
      # What metadata left over goes too, to the last block.
      dd if=/dev/zero of="$disk/fill" bs=4k oflag=append conv=notrunc,fsync status=none 2>/dev/null || true
      ;;
    *) usage_error "usage: lab disk-full B [--undo]" ;;
  esac
}

cmd_address() {
  arguments 2 2 "address B IP" "$@"
  board "$1"
  lock_lab
  if [[ ! $2 =~ ^$NET\.([1-9][0-9]{0,2})$ ]] || ((BASH_REMATCH[1] < 2 || BASH_REMATCH[1] > 254)); then
    usage_error "bad address \"$2\": the lab's network is $NET.2 to $NET.254"
  fi
  local other
  for other in $(board_names); do
    [[ $(<"$LAB/boards/$other/address") != "$2" ]] || die "$other has the address $2" 4
  done
  echo "$2" >"$D/address"
  port_address "$B"
  write_hosts
}

cmd_unplug() {
  arguments 1 1 "unplug B" "$@"
  board "$1"
  set_cable "$B" down
  touch "$D/unplugged"
}

cmd_plug() {
  arguments 1 1 "plug B" "$@"
  board "$1"
  set_cable "$B" up
  rm -f "$D/unplugged"
}

# At the switch's end: the board keeps its address and its routes, and sees "no carrier".
set_cable() {
  if [[ $(switch_kind) == bridge ]]; then
    ip -n "$NS-sw" link set "$1" "$2"
  else
    tapswitch PUT "ports/$1/carrier?state=$2"
  fi
}

# board_set SET: the names in a set, one per line.
board_set() {
  local part
  for part in ${1//,/ }; do
    board "$part"
    echo "$B"
  done
}

cmd_cut() {
  arguments 2 3 "cut SET SET [--one-way]" "$@"
  local a b left right both=1
  case ${3:-} in
    --one-way) both= ;;
    '') ;;
    *) usage_error "usage: lab cut SET SET [--one-way]" ;;
  esac
  need_lab
  lock_lab
  left=$(board_set "$1")
  right=$(board_set "$2")
  for a in $left; do
    for b in $right; do
      [[ $a != "$b" ]] || usage_error "$a is on both sides of the cut"
      echo "cut $a $b" >>"$LAB/faults"
      if [[ $both ]]; then echo "cut $b $a" >>"$LAB/faults"; fi
    done
  done
  apply_faults
}

cmd_loss() {
  arguments 2 2 "loss B PERCENT" "$@"
  board "$1"
  lock_lab
  if [[ ! $2 =~ ^(100|[1-9]?[0-9](\.[0-9]{1,2})?)$ ]]; then usage_error "bad loss \"$2\": 0 to 100 percent, two decimals"; fi
  set_fault loss "$B" "$2"
}

cmd_delay() {
  arguments 2 3 "delay B MS [JITTER]" "$@"
  board "$1"
  lock_lab
  [[ $(switch_kind) == tap ]] ||
    die "a bridge cannot delay packets: this kernel's switch needs netem for that; start the lab with --switch tap"
  [[ "$2 ${3:-0}" =~ ^[0-9]{1,5}\ [0-9]{1,5}$ ]] || usage_error "bad delay \"$2 ${3:-}\": whole milliseconds, below 100000"
  set_fault delay "$B" "$2" "${3:-0}"
}

# set_fault KIND BOARD FIGURE...: replaces the board's fault of this kind; a figure of 0 ends it.
set_fault() {
  sed -i "/^$1 $2 /d" "$LAB/faults"
  if [[ $3 =~ [1-9] || ${4:-0} != 0 ]]; then echo "$*" >>"$LAB/faults"; fi
  apply_faults
}

cmd_heal() {
  arguments 0 0 "heal" "$@"
  need_lab
  lock_lab
  : >"$LAB/faults"
  apply_faults
}

apply_faults() {
  if [[ $(switch_kind) == tap ]]; then
    tapswitch PUT faults "$(<"$LAB/faults")
"
    return
  fi
  # The percentage in hundredths is the share of 10000 random numbers.
  {
    printf 'table bridge lab\ndelete table bridge lab\ntable bridge lab {\nchain forward {\ntype filter hook forward priority 0;\n'
    awk '
      $1 == "cut" { printf "iifname \"%s\" oifname \"%s\" drop\n", $2, $3 }
      $1 == "loss" {
        printf "iifname \"%s\" numgen random mod 10000 < %d drop\n", $2, $3 * 100
        printf "oifname \"%s\" numgen random mod 10000 < %d drop\n", $2, $3 * 100
      }' "$LAB/faults"
    printf '}\n}\n'
  } | in_switch nft -f - || die "nft refused the rules for $LAB/faults"
}
