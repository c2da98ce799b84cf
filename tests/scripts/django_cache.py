"""Django's cache over Redis, which the puppet imports."""

from django.conf import settings
from django.core.cache import caches


def use(port):
    """Two caches of a server: one as it is by default, and one with a prefix of its own."""
    cache = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{port}",
    }
    settings.configure(CACHES={"default": cache, "app": {**cache, "KEY_PREFIX": "app"}})


def fill(name, prefix, count):
    """Writes so many keys of a prefix, half of them at once."""
    half = count // 2
    caches[name].set_many({f"{prefix}:{number}": number for number in range(half)})
    for number in range(half, count):
        caches[name].set(f"{prefix}:{number}", "some text", timeout=60)


def look(name, prefix, first, last):
    """Looks for keys of a prefix, one at a time and then all at once; how many there were each time."""
    keys = [f"{prefix}:{number}" for number in range(first, last)]
    one_by_one = sum(caches[name].get(key) is not None for key in keys)
    return [one_by_one, len(caches[name].get_many(keys))]
