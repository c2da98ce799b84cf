"""The application of `tests/src/http/servers.rs` in Django: gunicorn's workers import it."""

import ctypes
import os
import time

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseNotModified, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path

# The worker's name: nothing has come over its sockets yet.
ctypes.CDLL(None).prctl(15, os.environ["PROCESS_NAME"].encode(), 0, 0, 0)

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of tests", DATA_UPLOAD_MAX_MEMORY_SIZE=None, LOGGING_CONFIG=None
)
django.setup()


def items(request):
    # Django itself reads no body without a length.
    return HttpResponse(str(len(request.environ["wsgi.input"].read())), status=201)


def item(request, number):
    if request.method in ("PUT", "DELETE"):
        assert request.body is not None
        return HttpResponse(status=204)
    if number > 1_000_000:
        return HttpResponse("no such item", status=404)
    answer = HttpResponse("" if request.method == "HEAD" else "x" * number)
    answer["Content-Length"] = number
    return answer


def parts(request, number):
    return StreamingHttpResponse(b"0123456789" for _ in range(number))


def wait(request, milliseconds):
    time.sleep(milliseconds / 1000)
    return HttpResponse("waited")


def events(request, number):
    def all_of_them():
        for event in range(number):
            yield f"id: {event}\ndata: tick\n\n"
            time.sleep(0.05)

    return StreamingHttpResponse(all_of_them(), content_type="text/event-stream")


urlpatterns = [
    path("items", items),
    path("items/<int:number>", item),
    path("items/<int:number>/parts", parts),
    path("users/<str:user>", lambda request, user: HttpResponse(user)),
    path("cached", lambda request: HttpResponseNotModified()),
    path("old", lambda request: HttpResponseRedirect("/items/1")),
    path("broken", lambda request: HttpResponse("broken", status=500)),
    path("wait/<int:milliseconds>", wait),
    path("events/<int:number>", events),
]
application = get_wsgi_application()
