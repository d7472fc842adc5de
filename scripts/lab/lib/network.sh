# shellcheck shell=bash
# The lab's network: a switch in a namespace of its own, and a namespace with one port per board. The
# namespaces have names, so a board's address and cable outlive its reboots. Sourced by ../lab.

# An `ip netns exec` would remount /sys and hide the cgroups, so the namespaces are entered with nsenter.
in_switch() { nsenter --net="/run/netns/$NS-sw" -- "$@"; }

switch_kind() { cat "$LAB/switch"; }

# network_up KIND: the switch, itself at 10.77.0.1: boards get a gateway that says "unreachable" at once.
network_up() {
  ip netns add "$NS-sw"
  if [[ $1 == bridge ]]; then
    ip -n "$NS-sw" link add eth0 type bridge forward_delay 0
  else
    tapswitch_up
    tapswitch POST "ports?name=switch&netns=/run/netns/$NS-sw"
  fi
  gateway_up
  in_switch sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  ip -n "$NS-sw" route add unreachable default
}

gateway_up() {
  ip -n "$NS-sw" link set lo up
  ip -n "$NS-sw" addr replace "$GATEWAY/24" dev eth0
  ip -n "$NS-sw" link set eth0 up
}

# port_make BOARD: its namespace, and its cable to the switch.
port_make() {
  ip netns add "$NS-$1"
  ip -n "$NS-$1" link set lo up
  if [[ $(switch_kind) == bridge ]]; then
    ip link add eth0 netns "$NS-$1" type veth peer name "$1" netns "$NS-sw"
    ip -n "$NS-sw" link set "$1" master eth0 up
  else
    tapswitch POST "ports?name=$1&netns=/run/netns/$NS-$1"
  fi
}

# port_address BOARD
port_address() {
  local address
  address=$(<"$LAB/boards/$1/address")
  ip -n "$NS-$1" addr flush dev eth0 scope global
  ip -n "$NS-$1" addr add "$address/24" dev eth0
  ip -n "$NS-$1" link set eth0 up
  ip -n "$NS-$1" route replace default via "$GATEWAY"
}

# One hosts file, bind-mounted into every board, so that boards know each other by name.
write_hosts() {
  local board
  {
    printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n%s\tswitch\n' "$GATEWAY"
    for board in $(board_names); do printf '%s\t%s\n' "$(<"$LAB/boards/$board/address")" "$board"; done
  } >"$LAB/hosts.new"
  cat "$LAB/hosts.new" >"$LAB/hosts" # in place: a rename would leave the boards with the old file
  rm "$LAB/hosts.new"
}

# tapswitch_up: starts the user-space switch, with no ports yet.
tapswitch_up() {
  local program
  program=$("$here/build" tapswitch)
  rm -f "$LAB/switch.sock"
  cgroup_make switch
  (
    cgroup_enter switch
    spawn "$LAB/switch.log" "$program" -socket "$LAB/switch.sock"
  )
  wait_until 10 "the TAP switch starts" test -S "$LAB/switch.sock" ||
    die "the TAP switch does not start: $(tail -n 3 "$LAB/switch.log")"
}

# tapswitch METHOD PATH [BODY]
tapswitch() {
  curl -sS --fail-with-body --max-time 10 --unix-socket "$LAB/switch.sock" -X "$1" ${3:+--data-binary "$3"} "http://switch/$2" ||
    die "the TAP switch refused $1 $2 (its log: $LAB/switch.log)"
}

# namespaces: every network namespace of the lab, whatever its state directory still knows of.
namespaces() {
  local ns
  ip netns list | while read -r ns _; do
    # pl-a-board1 is of lab a, pl-a-b-board1 of lab a-b.
    if [[ $ns == "$NS-"* && ${ns#"$NS-"} =~ ^(sw|board[0-9]+)$ ]]; then echo "$ns"; fi
  done
}

network_down() {
  local ns
  for ns in $(namespaces); do ip netns del "$ns"; done
}
