"""Press the button as the page of this gradio does, over its queue: ``generate.py URL COOKIE ORIGIN``; prints what came."""

import json
import sys

url, cookie, origin = sys.argv[1:]
headers = {"Cookie": cookie, "Origin": origin}
job = {"data": ["a hill"], "fn_index": 0, "session_hash": "s"}


def by_websocket():
    from websockets.sync.client import connect

    with connect(url.replace("http", "ws") + "/queue/join", additional_headers=headers) as socket:
        while True:
            message = json.loads(socket.recv(timeout=30))
            if message["msg"] == "send_hash":
                socket.send(json.dumps({key: job[key] for key in ("fn_index", "session_hash")}))
            elif message["msg"] == "send_data":
                socket.send(json.dumps({**job, "event_data": None}))
            elif message["msg"] == "process_completed":
                return message


def by_events():
    import httpx

    httpx.post(url + "/queue/join", json=job, headers=headers).raise_for_status()
    with httpx.stream("GET", url + "/queue/data?session_hash=s", headers=headers, timeout=30) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {"msg": ""}
            if message["msg"] == "process_completed":
                return message


import gradio  # noqa: E402

print(json.dumps((by_websocket if gradio.__version__.startswith("3") else by_events)()["output"]["data"]))
