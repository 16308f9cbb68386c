"""Which routes there are, which is taken, and what the environment says then."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import RouteError
from ansible_collections.sdops.webui.plugins.module_utils.network import routes as routes_module
from ansible_collections.sdops.webui.plugins.module_utils.network.proxy_environment import proxy_variables
from ansible_collections.sdops.webui.plugins.module_utils.network.routes import (
    SERVICES,
    Measurement,
    Route,
    format_measurements,
    list_routes,
    read_turbo,
    resolve_base,
    select_routes,
)

XRAY, TURBO = "http://127.0.0.1:10809", "http://172.16.0.1:12798"


def no_turbo() -> str:
    raise RouteError("There is no turbo proxy on this host.")


def routes_for(network, bases=None, mirrors=None, overrides=None, xray=XRAY, turbo=lambda: TURBO):
    found = list_routes(network, bases or {}, mirrors or {}, overrides or {}, xray, turbo)
    assert list(found) == list(SERVICES)
    return {service: [route.kind for route in routes] for service, routes in found.items()}


def test_direct_and_xray_are_the_same_for_everything():
    assert set(map(tuple, routes_for("direct").values())) == {("direct",)}
    assert set(map(tuple, routes_for("xray").values())) == {("xray",)}


def test_turbo_is_never_for_pip_conda_or_civitai():
    found = routes_for("turbo")
    assert {service for service, route_name in found.items() if route_name == ["turbo"]} == {"github", "huggingface"}
    assert {tuple(found[service]) for service in ("pypi", "conda", "civitai")} == {("direct",)}


def test_turbo_that_is_not_there_is_an_error_in_turbo_and_none_in_auto():
    with pytest.raises(RouteError, match="no turbo proxy"):
        routes_for("turbo", turbo=no_turbo)
    assert routes_for("auto", turbo=no_turbo)["github"] == ["direct", "xray"]


def test_mirrors_where_there_are_some():
    found = routes_for("mirrors")
    assert found["github"] == found["civitai"] == ["direct"]
    assert (
        (found["pypi"][0], found["pypi"][-1])
        == (found["huggingface"][0], found["huggingface"][-1])
        == ("mirror", "direct")
    )


def test_auto_has_all():
    assert routes_for("auto")["huggingface"] == ["direct", "xray", "turbo", "mirror"]
    assert routes_for("auto", xray="")["civitai"] == ["direct"]


def test_a_base_of_the_users_own_gets_no_mirrors_but_his():
    bases = {"pypi": "https://pypi.corp.example/simple"}
    assert routes_for("mirrors", bases)["pypi"] == ["direct"]
    assert routes_for("mirrors", bases, {"pypi": ["https://near.example/simple"]})["pypi"] == ["mirror", "direct"]
    default = routes_module.default_index()[0]
    assert default and routes_for("mirrors", {"pypi": default + "/"})["pypi"][0] == "mirror"


def test_single_services_have_their_route():
    found = routes_for("auto", overrides={"civitai": "xray", "github": "direct"})
    assert (found["civitai"], found["github"]) == (["xray"], ["direct"])
    with pytest.raises(RouteError, match="no Xray server is configured"):
        routes_for("direct", overrides={"civitai": "xray"}, xray="")
    with pytest.raises(RouteError, match="no mirror of it is known"):
        routes_for("direct", overrides={"civitai": "mirror"})
    with pytest.raises(RouteError, match="does not serve it"):
        routes_for("direct", overrides={"pypi": "turbo"})


def measuring(times: dict[str, float | None]):
    probed = []

    def measure(service: str, route: Route) -> Measurement:
        probed.append((service, route.kind))
        seconds = times.get(route.kind)
        return Measurement(service, route, seconds, "" if seconds is not None else "broken")

    return measure, probed


def options(*names: str) -> dict[str, list[Route]]:
    return {"github": [Route(name, "https://github.com", XRAY if name == "xray" else "") for name in names]}


def test_the_fastest_that_works_is_taken():
    measure, _ = measuring({"direct": None, "xray": 0.9, "turbo": 0.4})
    chosen, _ = select_routes(options("direct", "xray", "turbo"), {}, measure)
    assert chosen["github"].kind == "turbo"


def test_a_last_resort_is_taken_only_where_nothing_else_works():
    measure, _ = measuring({"direct": 0.1, "mirror": 3.0})
    chosen, _ = select_routes(options("mirror", "direct"), {}, measure, last=("direct",))
    assert chosen["github"].kind == "mirror"
    measure, _ = measuring({"direct": 0.1})
    chosen, _ = select_routes(options("mirror", "direct"), {}, measure, last=("direct",))
    assert chosen["github"].kind == "direct"


def test_a_single_route_is_not_measured():
    measure, probed = measuring({})
    chosen, measured = select_routes(options("xray"), {}, measure)
    assert (chosen["github"].kind, measured, probed) == ("xray", [], [])


def test_what_is_remembered_stays_while_it_works():
    measure, probed = measuring({"direct": 0.1, "xray": 5.0})
    state = {"github": {"kind": "xray", "base": "https://github.com"}}
    chosen, _ = select_routes(options("direct", "xray"), state, measure)
    assert chosen["github"].kind == "xray"
    assert probed == [("github", "xray")]
    chosen, _ = select_routes(options("direct", "xray"), state, measure, remeasure=True)
    assert chosen["github"].kind == "direct"


def test_what_is_remembered_and_dead_is_replaced():
    measure, probed = measuring({"direct": 0.1, "xray": None})
    chosen, _ = select_routes(
        options("direct", "xray"), {"github": {"kind": "xray", "base": "https://github.com"}}, measure
    )
    assert chosen["github"].kind == "direct"
    assert sorted(probed) == [("github", "direct"), ("github", "xray")]


def test_a_stored_route_that_is_not_offered_any_more_is_discarded():
    measure, _ = measuring({"direct": 0.1, "turbo": 0.2})
    chosen, _ = select_routes(options("direct", "turbo"), {"github": {"kind": "mirror", "base": "https://x"}}, measure)
    assert chosen["github"].kind == "direct"


def test_nothing_works_then_the_first_is_named():
    measure, _ = measuring({})
    chosen, measured = select_routes(options("direct", "xray"), {}, measure)
    assert chosen["github"].kind == "direct"
    assert all("no: broken" in line for line in format_measurements(chosen, measured))


def test_the_choice_is_the_minimum_whatever_comes():
    rng = random.Random(3)
    for _ in range(200):
        times = {route_name: rng.choice([None, rng.random()]) for route_name in routes_module.ROUTE_KINDS}
        measure, _ = measuring(times)
        chosen, _ = select_routes(options(*routes_module.ROUTE_KINDS), {}, measure, remeasure=rng.random() < 0.5)
        works = {route_name: seconds for route_name, seconds in times.items() if seconds is not None}
        assert chosen["github"].kind == (min(works, key=works.get) if works else "direct")


# --- /etc/network_turbo ------------------------------------------------------------------------------------------------


def test_the_turbo_proxy_is_read_by_sourcing_it(tmp_path):
    script = tmp_path / "turbo"
    script.write_text("export http_proxy=http://172.31.1.128:12798 && export https_proxy=$http_proxy\necho done\n")
    assert read_turbo(str(script)) == ("http://172.31.1.128:12798", [], "")
    script.write_text(
        f"export no_proxy=localhost,modelscope.com\nexport http_proxy={TURBO} && export https_proxy={TURBO}\n"
        f"export REQUESTS_CA_BUNDLE={script}\nexport SSL_CERT_FILE={script}\n"
    )
    assert read_turbo(str(script)) == (TURBO, ["localhost", "modelscope.com"], str(script))


@pytest.mark.parametrize("text", [None, "", "export https_proxy=", "exit 1", "export https_proxy='socks5://x:1'"])
def test_a_missing_turbo_proxy_is_named(tmp_path, text):
    script = tmp_path / "turbo"
    if text is not None:
        script.write_text(text)
    with pytest.raises(RouteError, match="no turbo proxy.*xray, mirrors or auto"):
        read_turbo(str(script))


# --- environment ---------------------------------------------------------------------------------------------------------


def routes_of(**services: tuple[str, str, str]) -> dict:
    return {service: dict(zip(("kind", "base", "proxy"), value)) for service, value in services.items()}


def test_without_a_proxy_nothing_is_set():
    assert proxy_variables({}, SERVICES, ["localhost"]) == {}


def test_xray_for_all():
    found = proxy_variables(
        routes_of(github=("xray", "https://github.com", XRAY), pypi=("xray", "", XRAY)),
        ["github", "pypi"],
        ["localhost"],
    )
    names = ("http_proxy", "https_proxy", "no_proxy")
    assert found == {
        **dict(zip(names, (XRAY, XRAY, "localhost"))),
        **dict(zip(map(str.upper, names), (XRAY, XRAY, "localhost"))),
    }
    assert "all_proxy" not in {name.lower() for name in found}


def test_pip_goes_around_a_proxy_that_is_for_git():
    routes = routes_of(github=("turbo", "", TURBO), pypi=("mirror", "https://near.example/simple", ""))
    found = proxy_variables(routes, ["pypi", "github"], ["localhost"])
    assert found["https_proxy"] == TURBO
    assert {"localhost", "near.example", "pytorch.org"} <= set(found["no_proxy"].split(","))
    default = proxy_variables(routes_of(github=("turbo", "", TURBO), pypi=("direct", "", "")), ["pypi", "github"], [])
    assert set(routes_module.default_index()[1]) <= set(default["no_proxy"].split(","))
    assert proxy_variables(routes, ["pypi"], []) == {}


def test_xray_wins_where_two_would_be_needed():
    routes = routes_of(github=("turbo", "", TURBO), civitai=("xray", "", XRAY))
    assert proxy_variables(routes, SERVICES, [])["https_proxy"] == XRAY


def test_a_mirror_of_the_hub_is_passed_to_its_clients():
    routes = routes_of(huggingface=("mirror", "https://hf-mirror.com", ""))
    assert proxy_variables(routes, ["huggingface"], []) == {"HF_ENDPOINT": "https://hf-mirror.com"}
    assert proxy_variables(routes_of(huggingface=("direct", "https://huggingface.co", "")), SERVICES, []) == {}


# --- the module, against servers of a kind ---------------------------------------------------------------------------------


@pytest.fixture
def serve():
    servers = []

    def start(status=200, body=b"001e# service=git-upload-pack\n", delay=0.0, kind="application/x"):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(delay)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(httpd)
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{httpd.server_port}"

    yield start
    for httpd in servers:
        httpd.shutdown()
        httpd.server_close()


def arguments(tmp_path, **more) -> dict:
    fixed = {service: "direct" for service in SERVICES if service != "github"}
    return {"network": "auto", "route_overrides": fixed, "state_file": str(tmp_path / "home" / "network.json"), "timeout": 3,
            "turbo_file": str(tmp_path / "none"), **more}  # fmt: skip


def test_module_measures_remembers_and_changes_its_mind_only_when_it_must(serve, tmp_path, four_times, run_module):
    dead, slow, fast = "http://127.0.0.1:9", serve(delay=0.6), serve()
    request = arguments(tmp_path, base_urls={"github": dead}, mirrors={"github": [slow, fast]})
    planned, applied = four_times("network_routes", **request)
    assert {**applied["routes"]["github"], "hosts": 0} == {"kind": "mirror", "base": fast, "proxy": "", "hosts": 0}
    assert "127.0.0.1" in applied["routes"]["github"]["hosts"]
    assert planned["routes"] == applied["routes"]
    assert any("<- taken" in line for line in applied["table"])
    errors = {m["base"]: m["error"] for m in applied["measured"]}
    assert errors[dead] == "connection refused"
    # another run offers it a mirror that is dead now: the remembered one still works and is all that is asked
    repeated = run_module("network_routes", **request)
    assert [m["base"] for m in repeated["measured"]] == [fast]
    state = json.loads((tmp_path / "home" / "network.json").read_text())
    assert state == {"github": {"kind": "mirror", "base": fast}}
    # what fetches nothing asks nobody: its route may be dead by now
    unmeasured = run_module("network_routes", **{**request, "measure": False, "mirrors": {"github": [fast, dead]}})
    assert (unmeasured["changed"], unmeasured["measured"]) == (False, []) and unmeasured["routes"]["github"][
        "base"
    ] == fast
    unmeasured = run_module("network_routes", **{**request, "measure": False, "mirrors": {"github": [slow]}})
    assert (unmeasured["changed"], unmeasured["measured"]) == (False, []) and unmeasured["routes"]["github"][
        "base"
    ] == dead
    changed = run_module("network_routes", **{**request, "mirrors": {"github": [slow]}})
    assert (changed["changed"], changed["routes"]["github"]["base"]) == (True, slow)


def test_module_fails_at_once_where_no_route_leads_anywhere(serve, tmp_path, run_module):
    dead = "http://127.0.0.1:9"
    request = arguments(
        tmp_path, base_urls={"github": dead}, mirrors={"github": [dead + "/mirror"]}, require_route=True
    )
    found = run_module("network_routes", **request)
    assert found["failed"] and "No route leads from this host to any of github" in found["msg"]
    assert "github       direct  127.0.0.1" in found["msg"] and "connection refused" in found["msg"]
    # one that works is enough, and who does not fetch anything needs none
    works = {**request, "mirrors": {"github": [serve()]}}
    assert not run_module("network_routes", **works).get("failed")
    assert not run_module("network_routes", **{**request, "require_route": False}).get("failed")
    # the others may be reached through Xray, which was not measured
    proxied = {service: "xray" for service in SERVICES if service != "github"}
    through = {**request, "network": "mirrors", "route_overrides": proxied, "xray_proxy": XRAY}
    assert not run_module("network_routes", **through).get("failed")


def test_index_of_a_host_without_pip_is_not_called_dead(monkeypatch):
    monkeypatch.setitem(sys.modules, "pip._internal.models.index", None)
    assert resolve_base("pypi", "") == ""
    direct, mirror = Route("direct", "", ""), Route("mirror", "https://mirror.example/simple", "")
    asked = []

    def measure(service, route):
        asked.append(route)
        return Measurement(service, route, None, "no")

    chosen, measured = select_routes({"pypi": [direct, mirror]}, {}, measure)
    assert asked == [mirror] and chosen["pypi"] == direct
    chosen, measured = select_routes({"pypi": [direct, mirror]}, {}, lambda s, r: Measurement(s, r, 1.0))
    assert chosen["pypi"] == mirror
    # one that is remembered does not keep the others from being measured
    chosen, measured = select_routes(
        {"pypi": [direct, mirror]}, {"pypi": {"kind": "direct", "base": ""}}, lambda s, r: Measurement(s, r, 1.0)
    )
    assert chosen["pypi"] == mirror


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 451}, "region"),
        ({"status": 502}, "502"),
        ({"body": b"<html>please log in to the wifi"}, "login page"),
        ({"delay": 4}, "seconds"),
    ],
)
def test_module_reports_why_a_route_does_not_work(serve, tmp_path, run_module, answer, message):
    broken = serve(**answer)
    request = arguments(tmp_path, base_urls={"github": broken}, mirrors={"github": ["http://127.0.0.1:9"]}, timeout=1)
    found = run_module("network_routes", **request)
    assert found["unreached"] == ["github"]
    assert found["changed"] is False
    assert message in {m["base"]: m["error"] for m in found["measured"]}[broken]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"route_overrides": {"gitlab": "direct"}}, "unknown service 'gitlab'"),
        ({"route_overrides": {"github": "pigeon"}}, "pigeon"),
        ({"mirrors": {"github": "https://x"}}, "list of URLs"),
        ({"network": "turbo", "route_overrides": {}}, "no turbo proxy"),
    ],
)
def test_module_refuses_nonsense(tmp_path, run_module, wrong, message):
    found = run_module("network_routes", **arguments(tmp_path, **wrong))
    assert found["failed"]
    assert message in found["msg"]


def test_a_stalled_answer_is_cut_off_in_time(tmp_path, run_module):
    class StalledHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.1)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), StalledHandler)
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    started = time.monotonic()
    stalled = routes_module.measure_route(
        "github", Route("direct", f"http://127.0.0.1:{httpd.server_port}", ""), "/", 1.0
    )
    assert time.monotonic() - started < 3
    assert stalled.seconds is None and "within 1 seconds" in stalled.error
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_ca_bundle_that_is_none_is_named(tmp_path, run_module, text):
    bundle = tmp_path / "ca.pem"
    if text:
        bundle.write_text(text)
    found = run_module("network_routes", **arguments(tmp_path, ca_path=str(bundle)))
    assert found["failed"]
    assert str(bundle) in found["msg"] and "sdops_ca_bundle" in found["msg"]


def test_a_last_resort_that_is_remembered_is_measured_against_the_others():
    state = {"github": {"kind": "direct", "base": "https://github.com"}}
    measure, probed = measuring({"direct": 0.1, "mirror": 0.5})
    chosen, _ = select_routes(options("mirror", "direct"), state, measure, last=("direct",))
    assert chosen["github"].kind == "mirror"
    assert ("github", "mirror") in probed


def test_a_state_file_that_cannot_be_written_is_a_sentence(serve, tmp_path, run_module):
    (tmp_path / "file").write_text("")
    request = arguments(tmp_path, base_urls={"github": serve()}, mirrors={"github": [serve()]})
    found = run_module("network_routes", **{**request, "state_file": str(tmp_path / "file" / "network.json")})
    assert found["failed"]
    assert "file/network.json" in found["msg"] and "sdops_home" in found["msg"]


def test_a_channel_by_name_is_found_where_conda_finds_it():
    assert routes_module.resolve_base("conda", "bioconda") == "https://conda.anaconda.org/bioconda"
    assert routes_module.resolve_base("conda", "conda-forge") == routes_module.PUBLIC_BASES["conda"]
    assert routes_module.service_hosts("conda", "bioconda") == ["conda.anaconda.org", "anaconda.org"]
    assert routes_for("mirrors", {"conda": "bioconda"})["conda"] == ["direct"]
    assert routes_for("mirrors", {"conda": "conda-forge"})["conda"][0] == "mirror"


@pytest.mark.parametrize(
    "given", [{"mirrors": {"github": ["mirror.example.com"]}}, {"base_urls": {"pypi": "pypi.example.com/simple"}}]
)
def test_a_url_without_its_scheme_is_rejected(tmp_path, run_module, given):
    found = run_module("network_routes", **arguments(tmp_path, **given))
    assert found["failed"]
    assert "example.com" in found["msg"] and "https://" in found["msg"]


def test_pip_never_goes_through_the_turbo_proxy():
    index, files = routes_module.default_index()[1]
    routes = routes_of(github=("turbo", "", TURBO), pypi=("direct", f"https://{index}/simple", ""))
    more = ["https://torch.example.com/whl/cu121", "http://near.example.com:8080/simple"]
    found = proxy_variables(routes, ["pypi", "github"], ["localhost"], more)
    assert {index, files, "pytorch.org", "torch.example.com", "near.example.com"} <= set(found["no_proxy"].split(","))
    # what goes through Xray goes there with all its indexes
    routes = routes_of(github=("xray", "", XRAY), pypi=("xray", "", XRAY))
    assert proxy_variables(routes, ["pypi", "github"], ["localhost"], more)["no_proxy"] == "localhost"


def test_what_the_turbo_proxy_says_of_hosts_and_certificates_counts(serve, tmp_path, run_module):
    script = tmp_path / "turbo"
    script.write_text(
        f"export no_proxy=modelscope.com\nexport http_proxy={TURBO} https_proxy={TURBO} SSL_CERT_FILE={script}\n"
    )
    request = arguments(tmp_path, network="turbo", turbo_file=str(script))
    found = run_module("network_routes", **{**request, "route_overrides": {}})["routes"]
    assert (found["github"]["no_proxy"], found["github"]["ca"]) == (["modelscope.com"], str(script))
    assert "no_proxy" not in found["pypi"]
    made = proxy_variables(found, ["github"], ["localhost"])
    assert "modelscope.com" in made["no_proxy"].split(",")
    assert made["SSL_CERT_FILE"] == made["REQUESTS_CA_BUNDLE"] == str(script)
    assert "SSL_CERT_FILE" not in proxy_variables(found, ["pypi"], ["localhost"])
