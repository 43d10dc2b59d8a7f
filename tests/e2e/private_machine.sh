#!/bin/bash
# A private machine for one test: network, process and mount namespaces with an ssh server of its own.
#
#   unshare --net --pid --mount --fork --kill-child --mount-proc private_machine.sh HOME REPOSITORY COMMAND...
#
# HOME becomes root's home, REPOSITORY/.venv is lent to the copy that `ray up` makes there. Needed because
# `ray up` and `ray down` call `ray stop`, which would end every Ray on the real machine.
set -euo pipefail
home=$1 repository=$2
shift 2
export HOME=$home PATH=$repository/.venv/bin:$home/.local/bin:$PATH

mount --make-rprivate /
mkdir -p /tmp/ray /run/sshd
mount -t tmpfs tmpfs /tmp/ray
mount -t tmpfs tmpfs /dev/shm
ip link set lo up

sed "s#^root:.*#root:x:0:0:root:$home:/bin/bash#" /etc/passwd > "$home/passwd"
grep -q '^sshd:' "$home/passwd" || echo 'sshd:x:74:74::/run/sshd:/usr/sbin/nologin' >> "$home/passwd"
mount --bind "$home/passwd" /etc/passwd

mkdir -p "$home/deepicd-cluster/repository/.venv" "$home/.ssh"
mount --bind "$repository/.venv" "$home/deepicd-cluster/repository/.venv"
chmod 700 "$home" "$home/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$home/.ssh/id_ed25519"
ssh-keygen -q -t ed25519 -N '' -f "$home/hostkey"
cp "$home/.ssh/id_ed25519.pub" "$home/.ssh/authorized_keys"
printf 'export PATH=%q LD_LIBRARY_PATH=%q\n' "$PATH" "${LD_LIBRARY_PATH:-}" > "$home/.profile"
cp "$home/.profile" "$home/.bashrc"
"$(command -v sshd)" -f /dev/null -h "$home/hostkey" -E "$home/sshd.log" \
    -o UsePAM=no -o PermitRootLogin=yes -o StrictModes=no -o PidFile=none

"$@"
