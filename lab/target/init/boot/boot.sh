#!/bin/bash
# sdops lab fake of AutoDL's PID 1: starts sshd, runs the customer's hook, reaps children, ends on SIGTERM.
for snippet in /etc/profile.d/*.sh; do . "$snippet"; done
mkdir -p /run/sshd
/usr/sbin/sshd -D -e 2>/var/log/sshd.log &
bash /init/bin/customer.cmd.sh &
trap 'kill -TERM -1; sleep 1; exit 0' TERM INT
while :; do sleep 3600 & wait -n; done
