#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch_files
short_description: Fetch files from a host that need not be trusted
version_added: 0.1.0
description:
  - Copies one file, or all files below a directory that match patterns, from the target to the controller.
  - "Nothing that the target reports is believed: every path has to lie below O(src) and lands below O(dest), no name may hold
    control characters, no link on the controller is followed out of O(dest), and sizes are limited. What is refused is named
    and fails the task after the rest was fetched."
  - Of a directory, what is on the controller already in the same size is not fetched again. A file appears under its name when it
    is whole.
  - This module is carried out by an action plugin on the controller; it works with C(become), and nothing of the content is
    shown at any verbosity.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The names of the files, not their content.
  idempotent:
    support: full
options:
  files:
    description: Single files, each with its own limits, in place of O(src) and O(dest).
    type: list
    elements: dict
    suboptions:
      src:
        description: The file on the target.
        type: str
        required: true
      dest:
        description: The file on the controller.
        type: path
        required: true
      private:
        description: As O(private).
        type: bool
        default: false
      max_bytes:
        description: As O(max_bytes).
        type: int
        default: 4294967296
  src:
    description: A file on the target, or with O(patterns) a directory there.
    type: str
  dest:
    description: The file on the controller, or with O(patterns) the directory there. Needed with O(src).
    type: path
  patterns:
    description: Shell patterns of the names of files that are fetched from below O(src), which is then a directory.
    type: list
    elements: str
  private:
    description: Whether the file gets mode 0600 and the directory that it lies in 0700.
    type: bool
    default: false
  max_bytes:
    description: Size that no file may exceed.
    type: int
    default: 4294967296
"""

EXAMPLES = r"""
- name: Fetch the images
  sdops.webui.fetch_files:
    src: /opt/sdops/data/stable-diffusion-webui/outputs
    dest: artifacts/outputs
    patterns: ["*.png", "*.jpg"]

- name: Fetch the credentials
  sdops.webui.fetch_files:
    src: /opt/sdops/secrets/webui-credentials
    dest: artifacts/webui-credentials
    private: true
    max_bytes: 4096

- name: Fetch the credentials and the test image
  sdops.webui.fetch_files:
    files:
      - src: /opt/sdops/secrets/webui-credentials
        dest: artifacts/webui-credentials
        private: true
      - src: /opt/sdops/webui/smoke_test.png
        dest: artifacts/smoke_test.png
"""

RETURN = r"""
files:
  description: Files that were fetched, or would be, relative to RV(dest).
  returned: always
  type: list
  elements: str
  sample: [txt2img-images/2026-11-28/00001-1.png]
matched:
  description: Files below O(src) that match and may be fetched, those that are here already included.
  returned: with O(patterns)
  type: int
  sample: 12
dest:
  description: The directory on the controller that they are in.
  returned: always
  type: str
  sample: /home/user/artifacts/box/outputs
skipped_files:
  description: Why files were refused, one sentence each.
  returned: always
  type: list
  elements: str
  sample: ['"/opt/../etc/x" is not below /opt/outputs']
"""
