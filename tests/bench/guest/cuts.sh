#!/bin/busybox sh
# First process of the small guest whose power is cut: only the agent on a card, simulated pins and a simulated service.
# It reports on the console; the machine outside sends commands through a port, one line of shell each.
/bin/busybox mkdir -p /proc /sys /dev /data /program
for program in mkdir ln mount umount insmod ifconfig mkfifo grep usleep sh cat dd stat sync rm kill ls dmesg tail df sed; do
    /bin/busybox ln -s busybox "/bin/$program"
done
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
echo 1 >/proc/sys/kernel/printk
for module in /modules/*.ko; do
    insmod "$module" || echo "@@ note cannot load $module"
done
mount -t configfs c /sys/kernel/config
mount -t ext4 -o "${mount:-rw}" /dev/vda /data || echo "@@ note the card cannot be mounted"
mount -t ext4 -o ro /dev/vdb /program || echo "@@ note no program"
ifconfig lo 127.0.0.1
ifconfig eth0 10.0.2.15

bank=/sys/kernel/config/gpio-sim/pins/bank0
mkdir -p $bank
echo 58 >$bank/num_lines
echo pinctrl-bcm2711 >$bank/label
for line in 17 27 22; do
    mkdir $bank/line$line
    echo GPIO$line >$bank/line$line/name
done
echo 1 >${bank%/bank0}/live

# Report every change of the pins, starting before the agent.
watch() {
    chip=$(echo /sys/devices/platform/gpio-sim.*/gpiochip*)
    mkfifo /never
    exec 9<>/never
    last=
    while read -r green <"$chip/sim_gpio17/value"; do
        read -r red <"$chip/sim_gpio27/value"
        read -r amber <"$chip/sim_gpio22/value"
        if [ "$green $red $amber" != "$last" ]; then
            last="$green $red $amber"
            echo "@@ pins $last"
        fi
        # A pause without starting a process.
        read -r -t 0.01 _ <&9
    done
    echo "@@ ended without pins"
}

# Put the loader where the program expects it; it finds the libraries beside it.
mkdir -p /lib64
ln -s /program/ld-linux-x86-64.so.2 /lib64/
export LD_LIBRARY_PATH=/program BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN=simulated-token RUST_LOG="${log:-warn}" NO_COLOR=1
agent() {
    (
        sh -c 'echo $$ >/agent.pid; exec /program/benchlight run --config /benchlight.toml' >"$answers"
        code=$?
        # Print what the kernel saw, for whoever investigates.
        [ $code = 0 ] || { dmesg | tail -20; df /data; ls -la /data/state; }
        echo "@@ ended $code"
    ) &
}
# Report when the scanners' ports are open.
listening() {
    until grep -q ":2329 00000000:0000 0A" /proc/net/tcp && grep -q ":232A 00000000:0000 0A" /proc/net/tcp; do usleep 20000; done
    echo "@@ listening"
}

# The ports appear once the kernel has asked the machine outside for them.
set -- /dev/vport*p3
until [ -c "$1" ]; do
    usleep 10000
    set -- /dev/vport*p3
done
rows=$1 orders=${1%3}2 answers=${1%3}1

# Append that many NUL bytes to the journal's log; report its length before and after.
nul() {
    log=/data/state/journal.sqlite-wal
    was=$(stat -c %s $log) || was=none
    dd if=/dev/zero bs="$1" count=1 2>/dev/null >>$log
    sync
    echo "@@ nul $was $(stat -c %s $log)"
}

# With a replica of so many boxes. What the cut has left of its file is reported before the agent opens it.
if [ -n "$boxes" ]; then
    sed -i 's|^kind = "kandji"|&\nreplica = "fallback"\nrefresh = "1m"\nmax_replica_age = "10m"|' /benchlight.toml
    said=$(/program/benchlight replica status --config /benchlight.toml 2>&1)
    echo "@@ replica $? $(echo $said)"
fi

watch &
/program/benchlight simulate kandji --listen 127.0.0.1:8801 --boxes "${boxes:-0}" >/dev/null &
[ -z "$before" ] || eval "$(echo "$before" | tr '+' ' ')"
agent
listening &
while read -r order; do
    eval "$order"
    echo "@@ done $?"
done <"$orders"
wait
