"""Where a login in a URL ends. The oracle is urllib3, by which requests and pip connect: at the last @ in front of the path."""

from __future__ import annotations

import random
import re

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import urls
from ansible_collections.sdops.webui.plugins.module_utils.git import command
from ansible_collections.sdops.webui.plugins.module_utils.network import netrc
from helpers.paths import ROOT
from urllib3.util import parse_url

ROLES = ROOT / "roles"
OF_ROLES = [
    re.compile(found.replace("\\\\", "\\"))
    for path in sorted(ROLES.glob("*/*/main.yml"))
    for found in re.findall(r"'(\(https\?://\)[^']*@)'", path.read_text())
]
REDACTIONS = {
    **{function.__name__: function for function in (urls.without_login, urls.without_user, urls.redact_logins)},
    **{f"role {n}": (lambda text, p=p: p.sub(r"\1", text)) for n, p in enumerate(OF_ROLES)},
}


def test_the_roles_have_such_patterns():
    assert len(OF_ROLES) >= 4


@pytest.mark.parametrize("redaction", REDACTIONS)
def test_no_part_of_a_login_is_left(redaction):
    chance = random.Random(11)
    for _ in range(2000):
        login = "".join(chance.choice("ab:@%4&=+~!$,;*()[]-._") for _ in range(chance.randint(1, 12)))
        url = f"https://{login}@host.example:8443/a@b/c?d=e@f"
        parsed = parse_url(url)
        assert parsed.host == "host.example"
        assert REDACTIONS[redaction](url) == "https://host.example:8443/a@b/c?d=e@f", url
    for text in ("https://host/a@b", "https://host?a@b", "https://host#a@b", "git@host:a/b", "https://host"):
        assert REDACTIONS[redaction](text) == text


def test_the_whole_password_is_kept_out_of_results_and_handed_over():
    url = "https://user:p@ss:w@rd@host.example/x.git"
    assert urls.url_login_secrets(url) == [
        "user:p@ss:w@rd@",
        "p@ss:w@rd",
    ]  # masked together with its user, and by itself
    assert netrc.render_netrc([url]) == "machine host.example\nlogin user\npassword p@ss:w@rd\n"
    with command.Git([]) as git:
        assert git.log_in(url) == "https://host.example/x.git"
        with open(f"/proc/self/fd/{git._logins[url]}") as handle:
            handle.seek(0)
            assert handle.read() == "username=user\npassword=p@ss:w@rd\n"
