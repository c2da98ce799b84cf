"""Calls over HTTP, for a puppet: `use` a library, then `make` calls one after the other."""

import json

session = None
options = {}


def use(library):
    global session, options
    if library == "requests":
        import requests

        session, options = requests.Session(), {"allow_redirects": False}
    else:
        import httpx

        session, options = httpx.Client(timeout=60), {"follow_redirects": False}


def body(call):
    """Its length is known, or not: then it goes in chunks, of these sizes."""
    if call["sends"] is None:
        return {}
    data = b"x" * call["sends"]
    if call["chunked"]:
        data = iter([data[at : at + 9000] for at in range(0, len(data), 9000)])
    return {"data" if type(session).__module__.startswith("requests") else "content": data}


def make(url, calls):
    """Tells status and length of each answer."""
    told = []
    for call in json.loads(calls):
        answer = session.request(call["method"], url + call["path"], **body(call), **options)
        told.append([answer.status_code, len(answer.content)])
    return told
