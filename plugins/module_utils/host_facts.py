# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own facts of a host, for a module that has more to tell: what setup gathers."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.facts import ansible_collector, default_collectors
from ansible.module_utils.facts.namespace import PrefixFactNamespace

LOCAL_FACTS = "/etc/ansible/facts.d"  # where setup looks unless it is told otherwise
# what setup means by "min"
MINIMAL = "apparmor caps cmdline date_time distribution dns env fips local lsb pkg_mgr platform python selinux service_mgr ssh_pub_keys user"


def gather_facts(module: Any, subset: list[str]) -> dict[str, Any]:
    """``{"ansible_NAME": value}`` for the ``gather_subset`` of setup. ``module``: an AnsibleModule.

    ``ansible_python`` is the Python that runs this. Raises TypeError for a subset that does not exist.
    """
    module.params.setdefault("fact_path", LOCAL_FACTS)
    collector = ansible_collector.get_ansible_collector(
        all_collector_classes=default_collectors.collectors,
        namespace=PrefixFactNamespace(namespace_name="ansible", prefix="ansible_"),
        gather_subset=subset,
        minimal_gather_subset=frozenset(MINIMAL.split()),
    )
    return dict(collector.collect(module=module))
