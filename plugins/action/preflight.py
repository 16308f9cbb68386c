# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""preflight: checks the variables of roles on the controller, then asks the host once, and reports all mistakes together."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible.vars.clean import namespace_facts

from ..plugin_utils.role_validation import (
    check_variables,
    evaluate_rules,
    merge_host_requests,
    merge_host_states,
)

# with the addresses: what runs on the host is reached by them without a proxy
FACT_SUBSETS = ["!all", "min", "network"]
NEEDED_FACTS = ("python", "user_dir", "all_ipv4_addresses")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        unused, args = self.validate_argument_spec(
            argument_spec={"roles": {"type": "list", "elements": "str", "required": True}}
        )
        roles, variables = args["roles"], dict(task_vars or {})
        known = dict(variables.get("ansible_facts") or {})
        facts = self._gather_missing_facts(known, variables)
        known.update(namespace_facts(facts)["ansible_facts"])
        variables["ansible_facts"] = known
        engine = self._templar.copy_with_new_env(available_variables=variables)
        check = check_variables(roles, engine, load_extra_vars(self._loader))
        if check.errors:
            return {**result, "failed": True, "msg": "\n".join(check.errors)}
        variables.update(check.stripped)
        state = self._read_host_state(merge_host_requests(roles, engine), variables, facts)
        private = {"stripped": check.stripped, "pip_index_url": state.pop("pip_index_url", "")}
        if "gpu" in state:
            facts["sdops_gpu"] = state.pop("gpu")
        facts["sdops_host"] = merge_host_states(known.get("sdops_host"), state)
        variables["ansible_facts"] = {
            **known,
            "sdops_host": facts["sdops_host"],
            **({"sdops_gpu": facts["sdops_gpu"]} if "sdops_gpu" in facts else {}),
        }
        rules = evaluate_rules(roles, engine.copy_with_new_env(available_variables=variables))
        if rules.errors:
            return {**result, "failed": True, "msg": "\n".join(rules.errors)}
        for warning in rules.warnings:
            # not as a task's warnings, of which only one is shown where hosts have the same
            Display().display(f"[{variables.get('inventory_hostname')}] {warning}", color=constants.COLOR_WARN)
        # the index may hold a login, and what is stripped often comes from a vault
        return {**result, "ansible_facts": facts, "private": private, "_ansible_no_log": any(private.values())}

    def _gather_missing_facts(self, known: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """The minimal facts, where the play has not gathered them. Raises AnsibleActionFail."""
        if all(name in known for name in NEEDED_FACTS):
            return {}
        answer = self._execute_module("ansible.legacy.setup", {"gather_subset": FACT_SUBSETS}, task_vars=variables)
        return dict(self._require_success(answer, "Its facts cannot be gathered").get("ansible_facts") or {})

    def _read_host_state(
        self, request: dict[str, Any], variables: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """What the module host_state_info says of the host. Adds to ``facts`` the interpreter that Ansible discovers on the way."""
        if not any(request.values()):
            return {}
        context = self._connection._play_context
        before = context.no_log
        try:
            # connections show at -vvv what a module prints, which here may hold a login
            context.no_log = before or bool(request.get("pip_index"))
            answer = self._execute_module("sdops.webui.host_state_info", request, task_vars=variables)
        finally:
            context.no_log = before
        self._require_success(answer, "Its state cannot be read")
        discovered = answer.get("ansible_facts") or {}
        facts.update({name: value for name, value in discovered.items() if name.startswith("discovered_interpreter_")})
        return dict(answer["state"])

    def _require_success(self, answer: dict[str, Any], sentence: str) -> dict[str, Any]:
        if answer.get("failed") or answer.get("rc"):
            raise AnsibleActionFail(f"{sentence}: {answer.get('msg') or 'no reason is given'}", result=answer)
        return answer
