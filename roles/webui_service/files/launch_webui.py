# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the WebUI with credentials that appear neither in argv nor in the environment, and with no door left open.

``launch_webui.py CONFIG.json`` runs in the WebUI's own Python. The WebUI prints its arguments into its log and shows its
environment at /internal/sysinfo, so the credentials must not be there. They are put where the arguments end up instead:
into the namespace that the WebUI's own parser returns.

``launch_webui.py --check CONFIG.json`` lets the WebUI's own parser check the arguments, and starts nothing.
"""

import argparse
import base64
import collections
import hmac
import importlib.abc
import importlib.util
import inspect
import ipaddress
import json
import math
import os
import re
import runpy
import stat
import sys
import time

# what a browser needs for the login page, the probe of a supervisor, and the call by which gradio starts its own queue
OPEN = (
    "/",
    "/login",
    "/login/",
    "/theme.css",
    "/manifest.json",
    "/favicon.ico",
    "/robots.txt",
    "/internal/ping",
    "/startup-events",
)
# files of the login page. The server resolves "..", doubled slashes and what a proxy leaves encoded: none of these match,
# and neither does a hidden file
OPEN_FILE = re.compile(r"/(?:static|assets|webui-assets/css)(?:/[A-Za-z0-9_@+~-][A-Za-z0-9_.@+~-]*)+")
LOGIN = ("/login", "/login/")
# gradio 4 writes the description of all functions, with labels and defaults, also into the page that asks for the login
API_INFO = re.compile(rb"window\.gradio_api_info = [^<]*;</script>")
MOST_LOGIN = 64 << 10  # bytes of a login form, which anybody may send and which gradio keeps in memory
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^\s/?#@:\\\[\]]+)(?::([0-9]{1,5}))?")
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s/?#@:\\\[\]]+)(?::([0-9]{1,5}))?")
DEFAULT_PORTS = {"http": 80, "https": 443}
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def read_secret(path):
    mode = os.stat(path).st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        sys.exit(f"launch_webui: {path} can be read by others; it must have mode 0600")
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


def normalize_origin(text):
    """``(scheme, host, port)`` of an Origin header (RFC 6454, section 7); None for "null" and whatever else is none."""
    match = ORIGIN.fullmatch(text.strip().lower())
    return match and (match.group(1), match.group(2), int(match.group(3) or DEFAULT_PORTS[match.group(1)]))


def cors_origins(arguments):
    """The origins that the WebUI's own --cors-allow-origins names; "*" names none."""
    found = []
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--cors-allow-origins":
            found += (value if equals else "".join(arguments[position + 1 : position + 2])).split(",")
    return found


class Bucket:
    """A token bucket: ``burst`` failures at once, then one more every ``seconds``."""

    def __init__(self, burst, seconds, now):
        self.burst, self.seconds, self.tokens, self.updated = burst, seconds, float(burst), now

    def wait(self, now):
        """Seconds until the next attempt is allowed, 0 for now."""
        self.tokens = min(self.burst, self.tokens + (now - self.updated) / self.seconds)
        self.updated = now
        return 0 if self.tokens >= 1 else (1 - self.tokens) * self.seconds


class LoginLimiter:
    """Slows down failed logins, per client and in total.

    The password of a client that is over its limit is not even compared, or it would learn of the right password all the same. One from
    whose address somebody has logged in before is not subject to the total: attackers with many addresses do not lock it out.
    """

    CLIENT = (10, 10)  # failures at once, then one in so many seconds
    TOTAL = (60, 1)
    MOST = 4096  # clients remembered, the latest

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self.total = Bucket(*self.TOTAL, now=clock())
        self.failed, self.known = collections.OrderedDict(), collections.OrderedDict()

    def _recent(self, store, client, value):
        store[client] = store.pop(client, value)
        if len(store) > self.MOST:
            store.popitem(last=False)
        return store[client]

    def wait(self, client):
        """Seconds until this client may try again, 0 for now."""
        now = self.clock()
        own_wait = self.failed[client].wait(now) if client in self.failed else 0
        return max(own_wait, 0 if client in self.known else self.total.wait(now))

    def count(self, client):
        """An attempt that is a failure until ``succeeded`` says otherwise: many at the same time count too."""
        now = self.clock()
        buckets = [self._recent(self.failed, client, Bucket(*self.CLIENT, now=now))]
        if client not in self.known:
            buckets.append(self.total)
        for bucket in buckets:
            bucket.wait(now)
            bucket.tokens -= 1
        return buckets

    def succeeded(self, client, buckets=()):
        for bucket in buckets:
            bucket.tokens = min(bucket.burst, bucket.tokens + 1)
        self._recent(self.known, client, True)


class Headers:
    """Of an ASGI scope: all values of a name, in their order."""

    def __init__(self, scope):
        self.pairs = [(name.lower(), value.decode("latin-1")) for name, value in scope.get("headers") or []]

    def all(self, name):
        return [value for key, value in self.pairs if key == name]


class Guard:
    """Wraps an ASGI application's ``__call__``. Upstream leaves /internal/sysinfo, /docs and some API calls open to anyone."""

    def __init__(self, secret, allowed_origins=(), clock=time.monotonic):
        self.basic = base64.b64encode(secret.encode())
        self.allowed_origins = {normalize_origin(text) for text in allowed_origins} - {None}
        self.limiter = LoginLimiter(clock)

    def is_open(self, scope):
        """Whether nobody has to be logged in for this."""
        method, path = scope.get("method"), scope.get("path", "")
        if scope["type"] != "http":
            return False
        if method in ("GET", "HEAD"):
            return path in OPEN or OPEN_FILE.fullmatch(path) is not None
        return method == "POST" and path in LOGIN

    def is_cross_site(self, scope, headers):
        """Whether a page of another site may have sent what changes something: a browser adds the victim's cookie to that.

        Programs send no Origin. What a proxy says of the name that it was asked by is not believed: anybody can send it.
        """
        origins, hosts = headers.all(b"origin"), headers.all(b"host")
        if not origins or (scope["type"] == "http" and scope.get("method") in SAFE_METHODS):
            return False
        origin = normalize_origin(origins[0])
        if len(origins) > 1 or origin is None:
            return True
        if origin in self.allowed_origins:
            return False
        host = HOST.fullmatch(hosts[0].strip().lower()) if len(hosts) == 1 else None
        return host is None or origin[1:] != (host.group(1), int(host.group(2) or DEFAULT_PORTS[origin[0]]))

    def is_logged_in(self, app, headers):
        """Whether a cookie holds one of gradio's tokens. Its name differs between gradio's versions, and names the app since 4."""
        tokens = getattr(app, "tokens", None) or {}
        for header in headers.all(b"cookie"):
            for cookie in header.split(";"):
                if cookie.partition("=")[2].strip() in tokens:
                    return True
        return False

    def client_of(self, scope, headers):
        """Whose attempts are counted together: an address, of IPv6 its network.

        Requests of a proxy on this machine (AutoDL's public address, --share) are distinguished from those of our own modules and of
        an SSH tunnel by the Host that they ask for.
        """
        address = str((scope.get("client") or ("",))[0])[:64]
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return address
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        if parsed.version == 6 and not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        host = HOST.fullmatch("".join(headers.all(b"host")).strip().lower())
        direct = host is not None and (host.group(1) in ("localhost", "[::1]") or host.group(1).startswith("127."))
        return str(parsed) if direct or not parsed.is_loopback else f"{parsed} by proxy"

    def check_access(self, app, scope):
        """None to admit a request, or ``(status, detail, seconds to wait)``."""
        headers = Headers(scope)
        if self.is_cross_site(scope, headers):
            return 403, "Cross-site request: its Origin is not this host. See webui_service_allowed_origins.", 0
        if self.is_open(scope) or self.is_logged_in(app, headers):
            return None
        scheme, _space, given = "".join(headers.all(b"authorization")[:1]).partition(" ")
        if scheme.lower() != "basic":
            return 401, "Not authenticated", 0
        client = self.client_of(scope, headers)
        wait = self.limiter.wait(client)
        if wait:
            return self.too_many(wait)
        if hmac.compare_digest(given.strip().encode("latin-1"), self.basic):
            self.limiter.succeeded(client)
            return None
        self.limiter.count(client)
        return 401, "Not authenticated", 0

    @staticmethod
    async def read_form(receive):
        """The body of a request, None when it is too long, or breaks off."""
        body, more = b"", True
        while more and len(body) <= MOST_LOGIN:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body, more = body + message.get("body", b""), message.get("more_body", False)
        return body if len(body) <= MOST_LOGIN else None

    @staticmethod
    def too_many(wait):
        return 429, f"Too many failed logins. Try again in {math.ceil(wait)} seconds.", math.ceil(wait)

    async def send_rejection(self, scope, send, rejection):
        status, detail, wait = rejection
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        body = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        headers += [(b"retry-after", b"%d" % wait)] if wait else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def login(self, scope, receive, send, answer):
        """POST /login: gradio judges it, its status says how."""
        form = await self.read_form(receive)
        if form is None:
            await self.send_rejection(scope, send, (413, "No login form is that long.", 0))
            return
        client = self.client_of(scope, Headers(scope))
        wait = self.limiter.wait(client)  # no await until it is counted: many may come at the same time
        if wait:
            await self.send_rejection(scope, send, self.too_many(wait))
            return
        given = [{"type": "http.request", "body": form, "more_body": False}]
        buckets = self.limiter.count(client)

        async def replay():
            return given.pop() if given else await receive()

        async def watched(message):
            if message["type"] == "http.response.start" and message["status"] < 400:
                self.limiter.succeeded(client, buckets)
            await send(message)

        await answer(scope, replay, watched)

    async def login_page(self, scope, receive, send, answer):
        """The first page for somebody who is not logged in, without the description of the API."""
        headers = [pair for pair in scope.get("headers") or [] if pair[0].lower() != b"accept-encoding"]
        messages = []

        async def collect(message):
            messages.append(message)
            if message["type"] != "http.response.body" or message.get("more_body"):
                return
            body = API_INFO.sub(
                b"window.gradio_api_info = null;</script>", b"".join(m.get("body", b"") for m in messages)
            )
            other_headers = [pair for pair in messages[0]["headers"] if pair[0].lower() != b"content-length"]
            await send({**messages[0], "headers": [*other_headers, (b"content-length", b"%d" % len(body))]})
            await send({"type": "http.response.body", "body": body})

        await answer({**scope, "headers": headers}, receive, collect)

    def wrap(self, cls):
        original = cls.__call__
        guard = self

        async def __call__(app, scope, receive, send):
            # an application inside another one was checked with the outer one
            if scope["type"] not in ("http", "websocket") or scope.get("sdops.admitted"):
                await original(app, scope, receive, send)
                return
            rejection = guard.check_access(app, scope)
            if rejection:
                await guard.send_rejection(scope, send, rejection)
                return
            scope["sdops.admitted"] = True

            async def answer(*arguments):
                await original(app, *arguments)

            if scope.get("method") == "POST" and scope.get("path") in LOGIN:
                await guard.login(scope, receive, send, answer)
            elif scope.get("method") == "GET" and scope["path"] == "/" and not guard.is_logged_in(app, Headers(scope)):
                await guard.login_page(scope, receive, send, answer)
            else:
                await answer(scope, receive, send)

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
    flags = ("--disable-all-extensions", "--disable-extra-extensions")
    is_installed = os.path.isdir(os.path.join(config["extensions_dir"], extension))
    return is_installed and not off and not any(switch in config["args"] for switch in flags)


def arguments_of(config):
    """The arguments, with those that an enabled extension adds; without the extension its flags would end the WebUI."""
    arguments = list(config["args"])
    for extension, extra in sorted((config.get("extension_args") or {}).items()):
        if enabled(extension, config):
            arguments += [argument for argument in extra if argument not in arguments]
    return arguments


def check():
    """Parse the arguments as the WebUI will, extensions' flags included. Exits with a sentence for the first wrong one.

    A WebUI that cannot even be imported is not checked: its start shows what is wrong with it.
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
        print(f"launch_webui: the arguments were not checked: {type(exc).__name__}: {exc}", file=sys.stderr)
        return

    def error(message):
        sys.exit(f"The WebUI does not take its arguments: {message}. Correct webui_service_extra_args.")

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
    # the routes are those of the config, not what supervisord was started with; and gradio dies of all_proxy at import
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
        guard = Guard(secret, [*(config.get("allowed_origins") or []), *cors_origins(sys.argv)])
        sys.meta_path.insert(0, AfterImport("fastapi.applications", lambda module: guard.wrap(module.FastAPI)))
    runpy.run_path("launch.py", run_name="__main__")


main()
