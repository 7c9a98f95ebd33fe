#!/bench/busybox sh
# PID 1 of the initramfs: modules, the root under dm-verity, and on to the root.
busybox=/bench/busybox

# the time before anything else
$busybox mount -t proc -o nosuid,nodev,noexec proc /proc
read -r started _ </proc/uptime
$busybox mount -t devtmpfs -o nosuid,noexec,mode=0755 devtmpfs /dev
$busybox mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
$busybox mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run

say() { echo "<29>bench: $*" >/dev/kmsg; }
mark() { say "mark=$1 seconds=${2:-$(read -r up _ </proc/uptime && echo "$up")}"; }
fail() {
    say "failed $1"
    while :; do $busybox sleep 3600; done
}

mark pid-1 "$started"
for module in virtio_pci virtio_blk dm_mod dm_verity sha256_generic sha256_ssse3 erofs; do
    $busybox modprobe "$module" 2>/dev/null
done
until [ -b /dev/vda3 ]; do $busybox usleep 10000; done
/usr/sbin/dmsetup --noudevsync create --readonly --table "$($busybox cat /bench/verity)" root ||
    fail "the root does not open"
$busybox mount -t erofs -o ro,nosuid,nodev /dev/dm-0 /sysroot || fail "no root"
mark root
$busybox mkdir /run/bench
$busybox cp $busybox /bench/stage-two /run/bench/
for directory in run sys proc dev; do
    $busybox mount -o move "/$directory" "/sysroot/$directory"
done
exec $busybox switch_root /sysroot /run/bench/busybox sh /run/bench/stage-two
