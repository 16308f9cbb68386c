#!/bin/bash
# sdops lab fake of AutoDL's start hook.
[ -f /etc/autodl.sh ] && bash /etc/autodl.sh >> /tmp/autodl.sh.log 2>&1
