# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""preflight: checks the variables of roles on the controller, finds or makes a Python, then asks the host once.

All mistakes are reported together.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shlex
import sys
from collections.abc import Mapping
from multiprocessing import parent_process
from typing import Any, NamedTuple

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader
from ansible.release import __version__ as core_version
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible.vars.clean import clean_facts, namespace_facts

from ..plugin_utils.convergence_key import convergence_key, describe_difference
from ..plugin_utils.messages import message
from ..plugin_utils.packed_modules import COLLECTION_DIR, pack_in_background, reuse_packed_modules
from ..plugin_utils.role_options import ROLES, derived_variables, role_options
from ..plugin_utils.role_validation import (
    VariableCheck,
    check_variables,
    evaluate_rules,
    merge_host_requests,
    merge_host_states,
    old_core_error,
    root_cause,
)
from ..plugin_utils.target_python import NOTHING_MADE, configured_interpreter, python_result
from ..plugin_utils.templating import reuse_compiled_templates
from ..plugin_utils.variable_names import given_variables, unknown_tag_errors, unknown_variable_errors

# with the addresses: what runs on the host is reached by them without a proxy
FACT_SUBSETS = ["!all", "min", "network"]
NEEDED_FACTS = ("python", "user_dir", "all_ipv4_addresses")

# A worker process lives for one task. To look for cyclic garbage in it, among all objects of ansible-playbook, is an eighth of the
# controller's CPU in a run. The main process loads this file before it forks; a task that watches for hours enables it again
os.register_at_fork(after_in_child=gc.disable)
# what the check of each host needs, which would be imported in each worker
WORKER_IMPORTS = (
    "requests",
    "ansible.module_utils.urls",
    "ansible_collections.sdops.webui.plugins.module_utils.xray.release",
)
if "ansible.executor.task_queue_manager" in sys.modules and not parent_process():
    kept_dir = reuse_packed_modules()
    if kept_dir:
        reuse_compiled_templates(kept_dir / "templates")
    for path in (COLLECTION_DIR / "plugins" / "filter").glob("*.py"):
        filter_loader.get(f"sdops.webui.{path.stem}")
    for name in WORKER_IMPORTS:
        with contextlib.suppress(ImportError):  # said where it is needed
            importlib.import_module(name)


class HostAnswer(NamedTuple):
    """What a host has answered: the ``state`` for a ``request``, as of host_state_info; ``python``, as of python_bootstrap."""

    request: dict[str, Any]
    state: dict[str, Any]
    python: dict[str, Any]


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        if old_core_error(core_version):
            return {**result, "failed": True, "msg": old_core_error(core_version)}
        unused, args = self.validate_argument_spec(
            argument_spec={
                "roles": {"type": "list", "elements": "str", "required": True},
                "variable_roles": {"type": "list", "elements": "str", "default": []},
                "bootstrap": {"type": "bool", "default": False},
            }
        )
        roles, variables = args["roles"], dict(task_vars or {})
        known = dict(variables.get("ansible_facts") or {})
        has_facts = not args["bootstrap"] and all(name in known for name in NEEDED_FACTS)
        facts: dict[str, Any] = {}
        asked = None
        checked = [*roles, *args["variable_roles"]]
        check = self._check_variables(checked, variables, has_facts)
        check.errors.extend(self._unknown_name_errors(variables))
        if not check.errors and variables.get("ansible_play_batch", [])[:1] == [variables["inventory_hostname"]]:
            any_python = {**variables, "ansible_python_interpreter": sys.executable}
            pack_in_background(lambda name: self._configure_module(name, {}, any_python))
        if not has_facts and not check.errors:
            variables.update(check.stripped)
            asked = self._ask_at_once(roles, variables)
            answer = asked.python if asked else self._bootstrap_python(variables)
            facts = dict(answer.pop("ansible_facts", {}))
            result.update(answer)
            if answer.get("failed") or answer.get("would_create"):
                return result
            known.update(namespace_facts(facts)["ansible_facts"])
            variables["ansible_facts"] = known
            if constants.INJECT_FACTS_AS_VARS:
                # nothing but facts: a host must not set variables of roles
                variables.update({k: v for k, v in clean_facts(facts).items() if k.startswith("ansible_")})
            before, check = check, self._check_variables(checked, variables, known=check.values)
            check.stripped.update(before.stripped)
        if check.errors:
            return {**result, "failed": True, "msg": check.message(check.errors)}
        variables.update(check.stripped)
        engine = self._templar.copy_with_new_env(available_variables=variables)
        request = merge_host_requests(roles, engine)
        if asked and request == asked.request:
            state = asked.state
        else:
            state = self._read_host_state(request, variables, facts)
        record = state.pop("convergence", None)
        private = {"stripped": check.stripped, "pip_index_url": state.pop("pip_index_url", "")}
        if "gpu" in state:
            facts["sdops_gpu"] = state.pop("gpu")
        state["given_variables"] = given_variables(role_options(), self._variable_sources(variables))
        facts["sdops_host"] = merge_host_states(known.get("sdops_host"), state)
        variables["ansible_facts"] = {
            **known,
            "sdops_host": facts["sdops_host"],
            **({"sdops_gpu": facts["sdops_gpu"]} if "sdops_gpu" in facts else {}),
        }
        rules = evaluate_rules(roles, engine.copy_with_new_env(available_variables=variables))
        for warning in rules.warnings:
            # not as a task's warnings, of which only one is shown where hosts have the same
            Display().display(f"[{variables.get('inventory_hostname')}] {warning}", color=constants.COLOR_WARN)
        if rules.errors:
            return {**result, "failed": True, "msg": check.message(rules.errors)}
        result["convergence"] = self._compare_convergence(roles, check.values, variables, record)
        if result["convergence"]["difference"] and record["key"]:
            language = str(check.values.get("sdops_language") or "auto")
            words = describe_difference(result["convergence"]["difference"], language)
            host = variables.get("inventory_hostname")
            Display().display(message("host_checked", language, host=host, difference=words))
        # the index may hold a login, and what is stripped often comes from a vault
        return {**result, "ansible_facts": facts, "private": private, "_ansible_no_log": any(private.values())}

    def _check_variables(
        self,
        roles: list[str],
        variables: dict[str, Any],
        has_facts: bool = True,
        known: Mapping[str, Any] | None = None,
    ) -> VariableCheck:
        engine = self._templar.copy_with_new_env(available_variables=variables)
        return check_variables(roles, engine, load_extra_vars(self._loader), has_facts, known)

    def _unknown_name_errors(self, variables: dict[str, Any]) -> list[str]:
        """Sentences about variables that no role reads and tags that the play does not have."""
        given = {name: value for source in self._variable_sources(variables)[:2] for name, value in source.items()}
        roles = [path.name for path in ROLES.iterdir()]
        errors = unknown_variable_errors(given, role_options(), derived_variables(), roles)
        tags = variables.get("__sdops_tags", [] if variables.get("__sdops_without_tags") else None)
        if tags is not None:
            selected, skipped = variables["ansible_run_tags"], variables["ansible_skip_tags"]
            errors += unknown_tag_errors(selected, skipped, self._templar.template(tags))
        return errors

    def _variable_sources(self, variables: dict[str, Any]) -> list[Mapping[str, Any]]:
        """Where variables are set: the play; inventory, set_fact and -e; task, blocks and includes; roles. Not the roles' defaults."""
        sources: list[Mapping[str, Any]] = [
            self._task.get_play().vars,
            variables["hostvars"].raw_get(variables["inventory_hostname"]),
            self._task.get_vars(),
        ]
        role = self._task._role
        if role:
            chain = self._task.get_dep_chain() or []
            sources += [*(each.vars for each in [*chain, role]), role.get_role_params(chain)]
        return sources

    def _ask_at_once(self, roles: list[str], variables: dict[str, Any]) -> HostAnswer | None:
        """Facts and state from one module, where they take two otherwise. None where that does not work.

        Without facts, what the roles ask may not be known yet: then it is a guess, and the caller sees by ``request`` whether it was right.
        """
        engine = self._templar.copy_with_new_env(available_variables=variables)
        try:
            request = merge_host_requests(roles, engine)
        except AnsibleError:  # made of facts that are not there yet
            return None
        configured = configured_interpreter(variables, engine.template)
        toolbox = self._toolbox_python(str(request.get("toolbox") or ""))
        python = toolbox or configured
        if not python:
            return None
        variables = {**variables, "ansible_python_interpreter": python}
        answer = self._ask({**request, "gather_subset": FACT_SUBSETS}, variables)
        state = answer.get("state") or {}
        if answer.get("failed") or (toolbox and not state.get("toolbox", {}).get("usable")):
            return None
        facts = dict(answer.get("ansible_facts") or {})
        if not configured:
            facts["discovered_interpreter_python"] = state["python"]
        return HostAnswer(request, state, {**NOTHING_MADE, **python_result(python), "ansible_facts": facts})

    def _toolbox_python(self, path: str) -> str:
        """The Python of a toolbox that was whole when the role base last saw it, in which modules start in half the time; else ""."""
        python = os.path.join(path, "bin/python")
        test = f"test -f {shlex.quote(os.path.join(path, 'checked'))} && test -x {shlex.quote(python)}"
        return python if path and self._low_level_execute_command(test)["rc"] == 0 else ""

    def _bootstrap_python(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The result of python_bootstrap with the options in the variable ``__sdops_python_bootstrap``. Raises AnsibleActionFail."""
        engine = self._templar.copy_with_new_env(available_variables=variables)
        task = self._task.copy()
        task.args = {
            **engine.template(variables.get("__sdops_python_bootstrap", {})),
            "gather_subset": FACT_SUBSETS,
        }
        action = self._shared_loader_obj.action_loader.get(
            "sdops.webui.python_bootstrap",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=engine,
            shared_loader_obj=self._shared_loader_obj,
        )
        return dict(action.run(task_vars=variables))

    def _read_host_state(
        self, request: dict[str, Any], variables: dict[str, Any], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """What the module host_state_info says of the host. Adds to ``facts`` the interpreter that Ansible discovers on the way."""
        if not any(request.values()):
            return {}
        answer = self._ask(request, variables)
        self._require_success(answer, "Its state cannot be read")
        discovered = answer.get("ansible_facts") or {}
        facts.update({name: value for name, value in discovered.items() if name.startswith("discovered_interpreter_")})
        return dict(answer["state"])

    def _ask(self, request: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """The result of the module host_state_info."""
        context = self._connection._play_context
        before = context.no_log
        try:
            # connections show at -vvv what a module prints, which here may hold a login
            context.no_log = before or bool(request.get("pip_index"))
            return dict(self._execute_module("sdops.webui.host_state_info", request, task_vars=variables))
        finally:
            context.no_log = before

    def _compare_convergence(
        self, roles: list[str], values: Mapping[str, Any], variables: dict[str, Any], record: Any
    ) -> dict[str, Any]:
        """``{"key", "parts", "holds", "difference"}``; the key is "" where nobody asks for it. ``values``: those of the roles' options.

        To the kinds of ``compare_record`` come ``changed_many``, ``toolbox`` and ``error``.
        """
        nothing = {"key": "", "parts": {}, "holds": False, "difference": []}
        if record is None:
            return nothing
        engine = self._templar.copy_with_new_env(available_variables=variables)
        try:
            made_of = {**values, "no_proxy": engine.template(variables.get("sdops_no_proxy_all"))}
        except AnsibleError as exc:  # the task that needs the variable says what is wrong
            return {**nothing, "difference": ["error", root_cause(exc)]}
        made = convergence_key(roles, made_of, variables["ansible_facts"])
        # the role base would repair it, but no file in the record says that it is broken
        toolbox = (variables["ansible_facts"].get("sdops_host") or {}).get("toolbox") or {}
        difference = record["difference"] or (["toolbox", toolbox["reason"]] if toolbox.get("reason") else [])
        if not difference and record["key"] != made.key:
            names = made.changed_parts(record["parts"])
            difference = ["changed_many" if len(names) > 1 else "changed", *names]
        return {**made._asdict(), "holds": not difference, "difference": difference}

    def _require_success(self, answer: dict[str, Any], sentence: str) -> dict[str, Any]:
        if answer.get("failed") or answer.get("rc"):
            raise AnsibleActionFail(f"{sentence}: {answer.get('msg') or 'no reason is given'}", result=answer)
        return answer
