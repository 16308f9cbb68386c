"""A WebUI of nothing but gradio: the parts of AUTOMATIC1111's start that meet the launch wrapper, with the real gradio and fastapi.

As ``webui.py`` does it: gradio's page with a login, then the API, /internal and the assets on the same application.
"""

import argparse
import os
import secrets
import time

import gradio
from fastapi import Depends, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.staticfiles import StaticFiles

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--api-auth")
parser.add_argument("--gradio-auth-path")
arguments, _ = parser.parse_known_args()
with open(arguments.gradio_auth_path) as handle:
    login = tuple(handle.readline().strip().split(":"))
api_user, api_password = arguments.api_auth.split(":")

with gradio.Blocks() as demo:
    given = gradio.Textbox(label="checkpoint in the page")
    output = gradio.Textbox()
    gradio.Button("Run").click(lambda text: "rendered " + text, given, output, api_name="render")
app, _, _ = demo.queue().launch(
    auth=[login], server_name="0.0.0.0", server_port=arguments.port, prevent_thread_lock=True, quiet=True
)


def api_login(credentials: HTTPBasicCredentials = Depends(HTTPBasic())):  # noqa: B008
    good = [
        secrets.compare_digest(credentials.username, api_user),
        secrets.compare_digest(credentials.password, api_password),
    ]
    if not all(good):
        raise HTTPException(401, "Incorrect username or password")


app.add_api_route("/internal/ping", lambda: {}, methods=["GET"])
app.add_api_route("/internal/sysinfo", lambda: PlainTextResponse("environment of the host"), methods=["GET"])
app.add_api_route(
    "/sdapi/v1/options", lambda: JSONResponse({"a": 1}), methods=["GET"], dependencies=[Depends(api_login)]
)
app.add_api_route("/sdapi/v1/options", lambda: JSONResponse({}), methods=["POST"], dependencies=[Depends(api_login)])
app.mount("/webui-assets", StaticFiles(directory=os.path.join(os.path.dirname(os.path.abspath(__file__)), "assets")))
# routes that came after gradio's start
app.middleware_stack = None
app.build_middleware_stack()
print("The WebUI is up", flush=True)
while True:
    time.sleep(1)
