"""Tasks of Celery: a worker is `celery -A queue_celery worker`, and a puppet that sends them says `from queue_celery import *`.

The environment tells the broker's port (`QUEUE_PORT`), what a worker's process is to be called (`QUEUE_WORKER`), and where
it writes a line of JSON for each task that it takes (`QUEUE_LOG`): its number, when the one before was over, and when it
was taken, in nanoseconds. How many seconds each task takes there is `QUEUE_SECONDS`.
"""

import ctypes
import json
import os
import time

from celery import Celery, signals

if "QUEUE_WORKER" in os.environ:
    ctypes.CDLL(None).prctl(15, os.environ["QUEUE_WORKER"].encode(), 0, 0, 0)

app = Celery(broker=f"redis://127.0.0.1:{os.environ['QUEUE_PORT']}/0")
app.conf.update(
    broker_transport_options={
        "queue_order_strategy": "priority",
        "priority_steps": [0, 3, 6, 9],
        "visibility_timeout": 1,
    },
    task_acks_late=True,
    task_ignore_result=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
# When the task before was over; nothing is taken before the worker is ready.
over = 0


@app.task
def work(number):
    time.sleep(float(os.environ["QUEUE_SECONDS"]))


@signals.task_received.connect
def note(request, **_):
    line = json.dumps([request.args[0], over, time.monotonic_ns()])
    with open(os.environ["QUEUE_LOG"], "a") as file:
        file.write(line + "\n")


@signals.worker_ready.connect
@signals.task_postrun.connect
def end(**_):
    global over
    over = time.monotonic_ns()


def send(first, priorities):
    """A task of each priority, one after the other. Tells of each its number, and when it was sent."""
    told = []
    for number, priority in enumerate(priorities, first):
        begun = time.monotonic_ns()
        work.apply_async((number,), priority=priority)
        told.append([number, begun, time.monotonic_ns()])
    return told
