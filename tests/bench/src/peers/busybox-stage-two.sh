# PID 1 on the root: mounts, the network beside, the state, containerd.
busybox=/run/bench/busybox
export PATH=/usr/sbin:/usr/bin

say() { echo "<29>bench: $*" >/dev/kmsg; }
mark() { say "mark=$1 seconds=$(read -r up _ </proc/uptime && echo "$up")"; }
fail() {
    say "failed $1"
    while :; do $busybox sleep 3600; done
}

$busybox mount -t devpts -o nosuid,noexec,mode=0620,ptmxmode=0666,gid=5 devpts /dev/pts
$busybox mkdir -p /dev/shm
$busybox mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
$busybox mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
$busybox mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs /tmp

network() {
    $busybox modprobe virtio_net && $busybox modprobe overlay &&
        $busybox ip link set lo up && $busybox ip link set eth0 up &&
        $busybox ip address add 10.0.2.15/24 dev eth0 &&
        $busybox ip route add default via 10.0.2.2
}
network >/run/network.log 2>&1 &
network=$!

$busybox mount -t ext4 -o nosuid,nodev,noatime /dev/vda6 /var || fail "no state"
containerd >/run/containerd.log 2>&1 &
containerd=$!
until [ -S /run/containerd/containerd.sock ]; do
    kill -0 $containerd || fail "containerd ended: $($busybox tail -c 600 /run/containerd.log)"
    $busybox usleep 10000
done
mark containerd
wait $network || fail "no network: $($busybox tail -n 1 /run/network.log)"
mark agent-may-start
while :; do $busybox sleep 3600; done
