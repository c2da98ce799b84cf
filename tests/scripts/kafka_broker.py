"""A Kafka broker for a puppet to be: `from kafka_broker import *`.

It is the one that librdkafka has for tests, which speaks the protocol over TCP to any client, keeps messages, groups and
their offsets in memory, and counts the requests that it receives. `start()` starts it and tells its port.
"""

import collections
import ctypes
import glob
import os

import confluent_kafka

PRODUCER = 0
BROKER = 1
# Versions of the requests of groups from which on it does not answer as the protocol says.
GROUPS_UP_TO = {11: 5, 12: 3, 13: 1, 14: 3}
kept = []


def library():
    folder = os.path.join(os.path.dirname(confluent_kafka.__file__), "..", "confluent_kafka.libs")
    loaded = ctypes.CDLL(glob.glob(os.path.join(folder, "librdkafka-*.so*"))[0])
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in [
        ("conf_new", pointer, []),
        ("conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("mock_cluster_new", pointer, [pointer, number]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_topic_create", number, [pointer, text, number, number]),
        ("mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("mock_set_apiversion", number, [pointer, ctypes.c_int16, ctypes.c_int16, ctypes.c_int16]),
        ("mock_broker_set_rtt", number, [pointer, ctypes.c_int32, number]),
        ("mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)]),
        ("mock_start_request_tracking", None, [pointer]),
        ("mock_get_requests", pointer, [pointer, ctypes.POINTER(ctypes.c_size_t)]),
        ("mock_request_api_key", ctypes.c_int16, [pointer]),
        ("mock_request_destroy_array", None, [pointer, ctypes.c_size_t]),
    ]:
        function = getattr(loaded, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


def call(name, *arguments):
    return getattr(kept[0], f"rd_kafka_{name}")(*arguments)


def start():
    """Starts it. Tells its port."""
    kept.append(library())
    settings = call("conf_new")
    error = ctypes.create_string_buffer(256)
    # It has a client of its own, which connects to nothing.
    call("conf_set", settings, b"log_level", b"2", error, len(error))
    client = call("new", PRODUCER, settings, error, len(error))
    assert client, error.value
    kept.append(call("mock_cluster_new", client, 1))
    call("mock_start_request_tracking", kept[1])
    call("mock_group_initial_rebalance_delay_ms", kept[1], 10)
    for key, last in GROUPS_UP_TO.items():
        assert call("mock_set_apiversion", kept[1], key, 0, last) == 0, key
    return int(call("mock_cluster_bootstraps", kept[1]).decode().rsplit(":", 1)[1])


def topic(name, partitions):
    """Makes a topic."""
    error = call("mock_topic_create", kept[1], name.encode(), partitions, 1)
    assert error == 0, error


def delay(milliseconds):
    """Has it answer so much later from now on."""
    assert call("mock_broker_set_rtt", kept[1], BROKER, milliseconds) == 0


def refuse(key, codes):
    """Has it answer the next requests of an API key with these errors."""
    call("mock_push_request_errors_array", kept[1], key, len(codes), (ctypes.c_int * len(codes))(*codes))


def received():
    """How many requests it has received, by API key."""
    count = ctypes.c_size_t()
    requests = call("mock_get_requests", kept[1], ctypes.byref(count))
    keys = (ctypes.c_void_p * count.value).from_address(requests) if count.value else []
    counts = collections.Counter(call("mock_request_api_key", request) for request in keys)
    call("mock_request_destroy_array", requests, count)
    return counts
