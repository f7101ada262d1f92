"""What django-redis promises: cache, sessions, locks, times to live, patterns, counters, packed values."""

from __future__ import annotations

import os
import threading
from typing import Any

import django
import pytest
from django.conf import settings

URL = os.environ["APPS_URL"]


def cache(**options: Any) -> dict[str, Any]:
    """The settings of a cache at the service."""
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL, "KEY_PREFIX": "dj", "OPTIONS": options}


settings.configure(
    SECRET_KEY="of no importance",
    USE_TZ=True,
    CACHES={
        "default": cache(),
        "packed": cache(
            COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
            SERIALIZER="django_redis.serializers.json.JSONSerializer",
        ),
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_CACHE_ALIAS="default",
    SESSION_COOKIE_AGE=1000,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
)
django.setup()

from django.core.cache import caches  # noqa: E402  # it wants the settings
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.cache import cache_page  # noqa: E402
from django_redis import get_redis_connection  # noqa: E402

from tests.apps.python.scenarios import judge, until  # noqa: E402

client = get_redis_connection("default")
default: Any = caches["default"]


def visit(request: HttpRequest) -> JsonResponse:
    """Count the visits of a session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"], "key": request.session.session_key})


def login(request: HttpRequest) -> JsonResponse:
    """A new key for the session, with what it held."""
    request.session.cycle_key()
    return JsonResponse({"key": request.session.session_key})


def logout(request: HttpRequest) -> JsonResponse:
    """The end of the session."""
    request.session.flush()
    return JsonResponse({})


calls: list[int] = []


@cache_page(60)
def page(request: HttpRequest) -> JsonResponse:
    """A page that is made once."""
    calls.append(1)
    return JsonResponse({"made": len(calls)})


urlpatterns = [path("visit", visit), path("login", login), path("logout", logout), path("page", page)]


def values() -> None:
    """What is put comes back, with its type, until it lapses or is taken away."""
    assert default.set("a", {"x": [1, 2.5, None, "é"]}, 100)
    assert default.get("a") == {"x": [1, 2.5, None, "é"]}
    assert default.get("none", 7) == 7
    assert default.add("a", 1) is False
    assert default.set("b", 1, nx=True)
    assert not default.set("b", 2, nx=True)
    default.set_many({f"m{number}": number for number in range(100)}, 100)
    assert default.get_many([f"m{number}" for number in range(0, 110, 10)]) == {f"m{n}": n for n in range(0, 100, 10)}
    assert default.get_or_set("c", lambda: "made") == "made"
    assert default.delete_many(["a", "b", "none"]) == 2
    assert default.has_key("c") and not default.has_key("a")
    default.set("v", 1, version=2)
    assert (default.get("v"), default.incr_version("v", version=2), default.get("v", version=3)) == (None, 3, 1)


def counters() -> None:
    """Up and down, and an error for what is not there."""
    default.set("n", 10, timeout=None)
    assert (default.incr("n"), default.incr("n", 9), default.decr("n", 5), default.get("n")) == (11, 20, 15, 15)
    with pytest.raises(ValueError, match="missing"):
        default.incr("missing")
    default.set("big", 2**63 - 1, timeout=None)
    assert default.incr("big") == 2**63  # beyond what INCR can: django-redis does it by GET and SET
    assert default.incr("fresh", ignore_key_check=True) == 1


def times() -> None:
    """Times to live are told and changed."""
    default.set("t", 1, timeout=100)
    assert 99 <= default.ttl("t") <= 100
    assert default.expire("t", timeout=200) and 199 <= default.ttl("t") <= 200
    assert default.pexpire("t", timeout=5500) and 5000 <= default.pttl("t") <= 5500
    assert default.persist("t") and default.ttl("t") is None
    assert default.touch("t", 300) and 299 <= default.ttl("t") <= 300
    assert default.ttl("none") == 0
    default.set("now", 1, timeout=0)
    assert default.get("now") is None
    default.set("soon", 1)
    default.pexpire("soon", timeout=30)
    until(lambda: default.get("soon") is None, "the end of a key")


def patterns() -> None:
    """Keys by pattern, found in steps and taken away."""
    default.set_many({f"p:{number}": number for number in range(2500)})
    assert len(default.keys("p:1*")) == 1111
    assert sum(1 for _ in default.iter_keys("p:*", itersize=100)) == 2500
    assert default.delete_pattern("p:1*", itersize=500) == 1111
    assert default.delete_pattern("p:*") == 1389
    assert default.keys("p:*") == []


def locks() -> None:
    """One at a time; a lock may lapse, be prolonged, and only its owner gives it back."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(5):
            with default.lock("lock", timeout=20, sleep=0.001):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(most), max(most)) == (25, 1)
    lock = default.lock("own", timeout=10)
    other = default.lock("own", timeout=10, blocking_timeout=0.05)
    assert lock.acquire() and not other.acquire()
    assert lock.extend(100) and lock.reacquire() and lock.owned() and not other.owned()
    lock.release()
    assert other.acquire()
    other.release()


def packed() -> None:
    """Compressed JSON, in the store smaller than it is."""
    cache = caches["packed"]
    cache.set("z", {"text": "é" * 5000}, 100)
    assert cache.get("z") == {"text": "é" * 5000}
    assert client.strlen("dj:1:z") < 500


def containers() -> None:
    """Sets of the cache."""
    assert default.sadd("s", "a", "b", 3) == 3
    assert default.smembers("s") == {"a", "b", 3}
    assert default.sismember("s", 3) and default.scard("s") == 3
    assert default.spop("s") in {"a", "b", 3} and default.scard("s") == 2


def sessions() -> None:
    """A visitor is known again, by a new key after the login, and forgotten after the logout."""
    visitor, other = Client(), Client()
    assert visitor.get("/visit").json()["visits"] == 1
    found = visitor.get("/visit").json()
    assert found["visits"] == 2
    assert other.get("/visit").json()["visits"] == 1
    kept = f"dj:1:django.contrib.sessions.cache{found['key']}"
    assert 990 <= client.ttl(kept) <= 1000
    new = visitor.get("/login").json()["key"]
    assert new != found["key"] and not client.exists(kept)
    assert visitor.get("/visit").json() == {"visits": 3, "key": new}
    visitor.get("/logout")
    assert visitor.get("/visit").json()["visits"] == 1
    assert [visitor.get("/page").json()["made"] for _ in range(3)] == [1, 1, 1]


def raw() -> None:
    """The client below: pipelines and scripts."""
    with client.pipeline() as pipe:
        pipe.set("raw", 1)
        pipe.incrby("raw", 41)
        assert pipe.execute() == [True, 42]
    assert client.eval("return redis.call('GET', KEYS[1]) + ARGV[1]", 1, "raw", 8) == 50
    default.clear()
    assert default.get("n") is None


if __name__ == "__main__":
    judge(values, counters, times, patterns, locks, packed, containers, sessions, raw)
