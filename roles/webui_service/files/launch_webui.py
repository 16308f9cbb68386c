# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the WebUI with credentials that appear neither in argv nor in the environment, and with no door left open.

``launch_webui.py CONFIG.json`` runs in the WebUI's own Python. The WebUI prints its arguments into its log and shows its
environment at /internal/sysinfo, so the credentials must not be there. They are put where the arguments end up instead:
into the namespace that the WebUI's own parser returns.

``launch_webui.py --check CONFIG.json`` lets the WebUI's own parser judge the arguments, and starts nothing.
"""

import argparse
import base64
import hmac
import importlib.abc
import importlib.util
import inspect
import json
import os
import runpy
import stat
import sys

# what a browser needs for the login page, and the probe of a supervisor; the rest wants a login or the API's credentials
OPEN = ("/", "/login", "/login/", "/theme.css", "/manifest.json", "/favicon.ico", "/robots.txt", "/internal/ping")
OPEN_BELOW = ("/static/", "/assets/", "/webui-assets/css/")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def read_secret(path):
    mode = os.stat(path).st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        sys.exit("launch_webui: %s can be read by others; it must have mode 0600" % path)
    with open(path, encoding="utf-8") as handle:
        return handle.readline().strip()


def hand_over(secret):
    """Let every parser that knows --api-auth return the secret as its value."""
    original = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self, args=None, namespace=None):
        result, rest = original(self, args, namespace)
        if hasattr(result, "api_auth") and not result.api_auth:
            result.api_auth = secret
        return result, rest

    argparse.ArgumentParser.parse_known_args = parse_known_args


class Guard:
    """Wraps an ASGI application's ``__call__``. Upstream leaves /internal/sysinfo, /docs and some API calls open to anyone."""

    def __init__(self, secret):
        self.basic = b"Basic " + base64.b64encode(secret.encode())

    def admits(self, app, scope):
        path = scope.get("path", "")
        if scope["type"] not in ("http", "websocket") or path in OPEN or path.startswith(OPEN_BELOW):
            return True
        headers = dict(scope.get("headers") or [])
        if hmac.compare_digest(headers.get(b"authorization", b""), self.basic):
            return True
        tokens = getattr(app, "tokens", None) or {}
        for cookie in headers.get(b"cookie", b"").decode("latin1").split(";"):
            name, _, value = cookie.strip().partition("=")
            if name in ("access-token", "access-token-unsecure") and value in tokens:
                return True
        return False

    def wrap(self, cls):
        original = cls.__call__
        guard = self

        async def __call__(app, scope, receive, send):
            # an application inside another one was judged with the outer one
            if scope.get("sdops.admitted") or guard.admits(app, scope):
                scope["sdops.admitted"] = True
                await original(app, scope, receive, send)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                body = b'{"detail":"Not authenticated"}'
                headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": body})

        cls.__call__ = __call__


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls ``then`` with a module when somebody imports it."""

    def __init__(self, name, then):
        self.name, self.then = name, then

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run, then = spec.loader.exec_module, self.then

        def exec_module(module):
            run(module)
            then(module)

        spec.loader.exec_module = exec_module
        return spec


def find_tcmalloc():
    """Path of the allocator that keeps the WebUI's memory from growing with every change of models; None without it."""
    for directory in LIBRARIES:
        for name in TCMALLOC:
            if os.path.exists(os.path.join(directory, name)):
                return os.path.join(directory, name)
    return None


def enabled(extension, config):
    """Whether the WebUI will load the extension: its settings may have been changed in the page since we were configured."""
    try:
        with open(config["settings"], encoding="utf-8") as handle:
            settings = json.load(handle)
    except (OSError, ValueError, RecursionError):
        settings = {}
    off = settings.get("disable_all_extensions", "none") != "none" or extension in settings.get(
        "disabled_extensions", []
    )
    switches = ("--disable-all-extensions", "--disable-extra-extensions")
    there = os.path.isdir(os.path.join(config["extensions_dir"], extension))
    return there and not off and not any(switch in config["args"] for switch in switches)


def arguments_of(config):
    """The arguments, with those that an enabled extension adds; without the extension its flags would end the WebUI."""
    arguments = list(config["args"])
    for extension, own in sorted((config.get("extension_args") or {}).items()):
        if enabled(extension, config):
            arguments += [argument for argument in own if argument not in arguments]
    return arguments


def check():
    """Parse the arguments as the WebUI will, extensions' flags included. Exits with a sentence for the first wrong one.

    A WebUI that cannot even be imported is not judged: its start tells what is wrong with it.
    """
    try:
        from modules import cmd_args, launch_utils, script_loading
        from modules.paths_internal import extensions_builtin_dir, extensions_dir

        parser = cmd_args.parser
        known = inspect.signature(script_loading.preload_extensions).parameters
        # before 1.6 the WebUI looked into every directory
        listed = {"extension_list": launch_utils.list_extensions(launch_utils.args.ui_settings_file)}
        script_loading.preload_extensions(extensions_dir, parser, **(listed if "extension_list" in known else {}))
        script_loading.preload_extensions(extensions_builtin_dir, parser)
    except Exception as exc:
        print("launch_webui: the arguments were not judged: %s: %s" % (type(exc).__name__, exc), file=sys.stderr)
        return

    def error(message):
        sys.exit("The WebUI does not take its arguments: %s. Correct webui_service_extra_args." % message)

    parser.error = error
    parser.allow_abbrev = False  # a part of a name may stand for a flag that is not allowed
    parser.parse_args()


def main():
    checking = sys.argv[1] == "--check"
    with open(sys.argv[-1], encoding="utf-8") as handle:
        config = json.load(handle)
    environment = {}
    if config.get("environment_file") and os.path.exists(config["environment_file"]):
        with open(config["environment_file"], encoding="utf-8") as handle:
            environment.update(json.load(handle))
    environment.update(config.get("environment") or {})
    # the ways out are those of the config, not what supervisord was started with; and gradio dies of all_proxy at import
    for name in [name for name in os.environ if name.lower() in PROXIES]:
        del os.environ[name]
    os.environ.update({name: str(value) for name, value in environment.items() if name.lower() != "all_proxy"})
    allocator = find_tcmalloc() if config.get("tcmalloc") and not checking else None
    if allocator and not os.environ.get("LD_PRELOAD"):
        os.environ["LD_PRELOAD"] = allocator  # read by the loader: only a new image of the process has it
        os.execv(sys.executable, [sys.executable, "-u", *sys.argv])
    os.chdir(config["webui_dir"])
    sys.path[0] = config["webui_dir"]
    sys.argv = ["launch.py", *arguments_of(config)]
    if checking:
        check()
        return
    if config.get("api_auth_file"):
        secret = read_secret(config["api_auth_file"])
        hand_over(secret)
        sys.meta_path.insert(0, AfterImport("fastapi.applications", lambda module: Guard(secret).wrap(module.FastAPI)))
    runpy.run_path("launch.py", run_name="__main__")


main()
