# Makes the private machine in which a real Podman service runs, inside new mount, network, pid, uts
# and ipc namespaces. Everything is undone by the kernel when the last process in them ends.
#   $1 scratch directory   $2 root file system ("" = this machine's own)
set -eu
dir=$1
base=$2
root=

ip link set lo up
# crun 1.8 refuses the hybrid hierarchy; without the empty cgroup2 mount it sees plain v1.
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi

if [ -n "$base" ]; then
  root=$dir/root
  mkdir -p "$root" "$dir/over"
  mount -t tmpfs tmpfs "$dir/over"
  mkdir "$dir/over/upper" "$dir/over/work"
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/over/upper,workdir=$dir/over/work" "$root"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
fi
mkdir -p "$root/img" "$root/etc/containers" "$root/var/lib/containers" "$root/var/lib/cni" "$root/etc/cni" 2>/dev/null || :
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/lock" "$root/run/netns" "$root/run/podman" "$root/run/img"
# libpod keeps its locks in shared memory: each machine needs its own.
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$dir/storage" "$root/var/lib/containers"
mount --bind "$dir/etc" "$root/etc/containers"
mount --bind "$dir/img" "$root/run/img"
if [ -n "$root" ]; then
  cd "$root"
  mkdir -p mnt/old
  pivot_root . mnt/old
  umount -l /mnt/old
fi
echo ready
# catatonit reaps; cat ends when the test that holds the other end of the pipe does, and all with it.
exec catatonit -- cat
