# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python_bootstrap: a Python for modules on a host that may have none, and the facts of the host with it."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as core_version

from ..module_utils.errors import SdopsError, TargetPythonError
from ..module_utils.terminal import printable
from ..module_utils.urls import redact_secrets
from ..plugin_utils.target_python import (
    NOTHING_MADE,
    BootstrapMethod,
    BootstrapOptions,
    HostPythons,
    Interpreter,
    bootstrap_methods,
    configured_interpreter,
    older_core,
    parse_search,
    python_result,
    search_script,
    support_table,
    supported_pythons,
)

DOWNLOAD_TIMEOUT = 60  # seconds without an answer


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        unused, args = self.validate_argument_spec(
            argument_spec={
                "path": {"type": "path", "required": True},
                "url": {"type": "str", "default": ""},
                "sha256": {"type": "dict", "default": {}},
                "conda_channel": {"type": "str", "default": "conda-forge"},
                "system_packages": {"type": "bool", "default": True},
                "ca_path": {"type": "path"},
                "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
            }
        )
        self._host = str(task_vars.get("inventory_hostname", "?"))
        self._supported = supported_pythons()
        self._subset = args.pop("gather_subset")
        self._ca_path = args["ca_path"]
        result.update(NOTHING_MADE)
        try:
            chosen = configured_interpreter(task_vars, self._templar.template)
            if chosen:
                self._gather(chosen, args["path"], task_vars, result)
            else:
                self._bootstrap(BootstrapOptions(**args), task_vars, result)
        except SdopsError as exc:
            raise AnsibleActionFail(str(exc)) from None
        return result

    # --- an interpreter that the user has set -----------------------------------------------------------------------

    def _gather(self, configured: str, path: str, task_vars: dict[str, Any], result: dict[str, Any]) -> None:
        """With the user's interpreter, which is looked at only when it does not work."""
        facts = self._setup(task_vars)
        if facts.get("failed"):
            found = parse_search(self._shell(search_script(self._supported, path))["stdout"])
            probe = self._shell(
                f"{shlex.quote(configured)} -c 'import sys; sys.stdout.write(\"%d.%d.%d\" % sys.version_info[:3])'"
            )
            self._explain_configured(configured, probe, found)
        result.update(facts, **python_result(configured))

    def _explain_configured(self, configured: str, probe: dict[str, Any], found: HostPythons | None) -> None:
        """Raise TargetPythonError where the version of the user's interpreter is the reason."""
        version = probe["stdout"].strip()[-20:]
        numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
        if probe["rc"] == 0 and numbers >= self._supported.oldest:
            return
        state = f"Python {printable(version)}" if probe["rc"] == 0 else "no Python that starts"
        other = found.select(self._supported) if found else None
        advice = f"; {other} is there too" if other else ""
        raise TargetPythonError(
            f"ansible_python_interpreter of {self._host} is {configured}, {state}, but ansible-core {core_version} needs Python {self._supported} on "
            f"hosts. Remove the variable, and one that fits is found or made{advice}."
        )

    # --- one that is found or made ------------------------------------------------------------------------------------

    def _bootstrap(self, options: BootstrapOptions, task_vars: dict[str, Any], result: dict[str, Any]) -> None:
        found = self._search(options.path)
        chosen = found.select(self._supported)
        if not chosen:
            methods = bootstrap_methods(found, self._supported, options)
            if self._task.check_mode and methods:
                result.update(self._plan(found, methods, options.path))
                return
            chosen = self._install(found, methods, options.path, result)
        variables = {
            **task_vars,
            "ansible_facts": {**task_vars.get("ansible_facts", {}), "discovered_interpreter_python": chosen.path},
        }
        facts = self._setup(variables)
        if not facts.get("failed"):
            facts["ansible_facts"] = {**facts.get("ansible_facts", {}), "discovered_interpreter_python": chosen.path}
        result.update(facts, **python_result(chosen.path))

    def _search(self, path: str) -> HostPythons:
        answer = self._shell(search_script(self._supported, path))
        found = parse_search(answer["stdout"])
        if found is None:
            reason = printable(answer["stderr"]).strip()[-300:] or "it gave no answer"
            raise TargetPythonError(f"The Pythons of {self._host} cannot be listed by /bin/sh: {reason}")
        return found

    def _plan(self, found: HostPythons, methods: list[BootstrapMethod], path: str) -> dict[str, Any]:
        """What check mode reports instead of making a Python: nothing can be looked at without one."""
        action = f"make a Python in {path} by {methods[0].label}"
        sentence = (
            f"{self._host} has no Python that ansible-core {core_version} can use ({self._listed(found)}). A run without check mode would "
            f"{action}; until then nothing else can be planned for this host."
        )
        return {
            "changed": True,
            "would_create": True,
            "actions": [action],
            "warnings": [sentence],
            "diff": {"before": "", "after": action + "\n"},
        }

    def _install(
        self, found: HostPythons, methods: list[BootstrapMethod], path: str, result: dict[str, Any]
    ) -> Interpreter:
        """Try one method after the other until a Python that fits is there. Raises TargetPythonError."""
        failures = []
        for method in methods:
            self._display.display(f"[{self._host}] making a Python by {method.label}", stderr=True)
            reason = self._run_method(method, path)
            if not reason:
                found = self._search(path)
                chosen = found.select(self._supported)
                if chosen:
                    action = f"made a Python by {method.label}"
                    result.update(changed=True, actions=[action], diff={"before": "", "after": action + "\n"})
                    return chosen
                reason = "it ended well, but left no Python that fits"
            failures.append(f"{method.label}: {reason}")
        tried = f"Tried to make one: {'; '.join(failures)}." if failures else "Nothing there can make one."
        core = older_core(found, self._supported)
        raise TargetPythonError(
            f"{self._host} has no Python that ansible-core {core_version} can use: it needs Python {self._supported}, and there is "
            f"{self._listed(found)}. {tried} Install a newer Python on the host; or set sdops_python_url to an address that the host or "
            f"this machine reaches, or ansible_python_interpreter to a Python elsewhere{f'; or use {core} on this machine' if core else ''}. "
            f"(Python of hosts by ansible-core: {support_table()}.)"
        )

    def _run_method(self, method: BootstrapMethod, path: str) -> str:
        """Run its scripts; why it failed, or ""."""
        try:
            if method.controller_url:
                self._copy_download(method.controller_url, path)
            for script in method.scripts:
                answer = self._shell(script)
                if answer["rc"] != 0:
                    lines = [printable(line).strip() for line in answer["stderr"].splitlines() if line.strip()]
                    errors = [line for line in lines if line.lower().startswith(("e:", "error", "critical"))]
                    return (errors or lines or [f"it ended with {answer['rc']}"])[-1][-300:].rstrip(".")
        except (OSError, ValueError) as exc:
            return redact_secrets(printable(str(exc))).rstrip(".")
        return ""

    def _copy_download(self, url: str, path: str) -> None:
        """Download on the controller and copy to the host; its SHA-256 is verified there. Raises OSError."""
        with tempfile.NamedTemporaryFile(prefix="sdops-python-") as file:
            with open_url(url, timeout=DOWNLOAD_TIMEOUT, ca_path=self._existing_ca()) as answer:
                shutil.copyfileobj(answer, file)
            file.flush()
            temporary = self._make_tmp_path()
            try:
                sent = self._transfer_file(file.name, self._connection._shell.join_path(temporary, "python.tar.gz"))
                target = shlex.quote(f"{path}/python.tar.gz")
                answer = self._shell(
                    f"mkdir -p -- {shlex.quote(path)} && cat < {shlex.quote(sent)} > {target}",
                    readable=[temporary, sent],
                )
            finally:
                self._remove_tmp_path(temporary)
            if answer["rc"] != 0:
                raise OSError(f"it cannot be copied to the host: {answer['stderr'].strip()[-200:]}")

    def _existing_ca(self) -> str | None:
        """The bundle of CAs is on the host; often the controller has it in the same place."""
        return self._ca_path if self._ca_path and os.path.isfile(self._ca_path) else None

    # --- details ------------------------------------------------------------------------------------------------------

    def _setup(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        arguments = {"gather_subset": self._subset}
        facts = self._execute_module("ansible.builtin.setup", module_args=arguments, task_vars=task_vars)
        facts.pop("changed", None)  # whether a Python was made is what counts
        return facts

    def _shell(self, script: str, readable: list[str] | None = None) -> dict[str, Any]:
        if readable:
            self._fixup_perms2(readable)
        answer = self._low_level_execute_command(script)
        if answer["rc"] == 255 and "ssh" in str(self._connection.transport):
            raise AnsibleConnectionFailure(f"{self._host} cannot be reached: {printable(answer['stderr'])[-300:]}")
        return {key: answer.get(key, "") for key in ("rc", "stdout", "stderr")}

    @staticmethod
    def _listed(found: HostPythons) -> str:
        return ", ".join(printable(str(python)) for python in found.interpreters) or "none at all"
