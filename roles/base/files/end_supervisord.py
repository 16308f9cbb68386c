# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a supervisord and its programs: ``end_supervisord.py SOCKET``. Says "ended" when there was one.

By its socket and with the standard library only: the toolbox that it was started from may not work any more.
"""

import http.client
import os
import socket
import sys
import time
import xmlrpc.client


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(sys.argv[1])


class Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        return Connection("localhost")


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main():
    supervisor = xmlrpc.client.ServerProxy("http://localhost", transport=Transport()).supervisor
    try:
        pid = supervisor.getPID()
        supervisor.shutdown()
    except (OSError, http.client.HTTPException):
        return  # a socket that nobody listens on, or none
    deadline = time.monotonic() + 90
    while runs(pid) or os.path.exists(sys.argv[1]):
        if time.monotonic() > deadline:
            sys.exit(f"supervisord (process {pid}) was told to end and still runs. End it by hand, and run this again.")
        time.sleep(0.1)
    print("ended")


main()
