"""The application of `tests/src/http/servers.rs` in FastAPI: uvicorn imports it."""

import asyncio
import ctypes
import os

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse

# The process's name: nothing has come over its sockets yet.
ctypes.CDLL(None).prctl(15, os.environ["PROCESS_NAME"].encode(), 0, 0, 0)

application = FastAPI()


@application.post("/items", status_code=201)
async def items(request: Request):
    return PlainTextResponse(str(len(await request.body())), status_code=201)


@application.api_route("/items/{number}", methods=["PUT", "DELETE"])
async def written(number: int, request: Request):
    await request.body()
    return Response(status_code=204)


@application.api_route("/items/{number}", methods=["GET", "HEAD"])
async def item(number: int):
    if number > 1_000_000:
        return PlainTextResponse("no such item", status_code=404)
    return PlainTextResponse("x" * number)


@application.get("/items/{number}/parts")
async def parts(number: int):
    return StreamingResponse(iter([b"0123456789"] * number), media_type="text/plain")


@application.get("/users/{user}")
async def user(user: str):
    return PlainTextResponse(user)


@application.get("/cached")
async def cached():
    return Response(status_code=304)


@application.get("/old")
async def old():
    return RedirectResponse("/items/1", status_code=302)


@application.get("/broken")
async def broken():
    return PlainTextResponse("broken", status_code=500)


@application.get("/wait/{milliseconds}")
async def wait(milliseconds: int):
    await asyncio.sleep(milliseconds / 1000)
    return PlainTextResponse("waited")


@application.get("/events/{number}")
async def events(number: int):
    async def all_of_them():
        for event in range(number):
            yield f"id: {event}\ndata: tick\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(all_of_them(), media_type="text/event-stream")
