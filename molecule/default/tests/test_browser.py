"""What a user does: an SSH tunnel, a real browser, the login, the image. The screenshot is in .work/screenshots."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SCREENSHOTS = Path(__file__).resolve().parents[3] / ".work" / "screenshots"
PROMPT = "a lighthouse on a cliff above the sea at dawn"


@contextlib.contextmanager
def tunnel(host):
    """The address on this machine that leads to the WebUI."""
    connection = host.ansible.get_variables()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "ssh",
        *shlex.split(connection.get("ansible_ssh_common_args", "")),
        "-i",
        connection["ansible_ssh_private_key_file"],
    ]
    command += [
        "-N",
        "-o",
        "ExitOnForwardFailure=yes",
        "-o",
        "BatchMode=yes",
        "-p",
        str(connection.get("ansible_port", 22)),
    ]
    command += ["-L", f"127.0.0.1:{port}:127.0.0.1:6006", f"{connection['ansible_user']}@{connection['ansible_host']}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, f"the tunnel ended: {process.stderr.read()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "no tunnel within 30 s"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def browser(tmp_path):
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.fail(
            "This test needs a browser: apt-get install chromium chromium-driver (make programs does it as root)."
        )
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path}")
    options.add_argument("--window-size=1100,1000")
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


def test_a_user_logs_in_and_sees_the_image(host, api, ready, browser):
    image = {"prompt": PROMPT, "steps": 4, "width": 512, "height": 320, "seed": 20230701}
    status, body = api("/sdapi/v1/txt2img", data=image)
    assert status == 200, body[:300]
    user, _, password = host.file("/opt/sdops/secrets/webui-credentials").content_string.strip().partition(":")
    with tunnel(host) as address:
        browser.get(address)
        assert browser.find_elements(By.TAG_NAME, "img") == []  # nothing to see without the password
        browser.find_element(By.NAME, "username").send_keys(user)
        browser.find_element(By.NAME, "password").send_keys(password)
        browser.find_element(By.TAG_NAME, "button").click()
        image_element = WebDriverWait(browser, 30).until(lambda page: page.find_element(By.CSS_SELECTOR, "figure img"))
        WebDriverWait(browser, 30).until(lambda page: image_element.get_property("complete"))
        assert (image_element.get_property("naturalWidth"), image_element.get_property("naturalHeight")) == (512, 320)
        text = browser.find_element(By.TAG_NAME, "body").text
        assert PROMPT in text and f"logged in as {user}" in text and "v1-5-pruned-emaonly" in text
        assert password not in browser.page_source and password not in browser.current_url
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        assert browser.save_screenshot(str(SCREENSHOTS / "webui.png"))
