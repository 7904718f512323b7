import pytest
from support.tables import MemoryBackend, RedisBackend


@pytest.fixture(
    params=[
        "memory",
        pytest.param("embedded_valkey", marks=pytest.mark.embedded),
        pytest.param("redis_server", marks=pytest.mark.redis),
    ]
)
async def backend(request, name_prefix):
    if request.param == "memory":
        yield MemoryBackend()
        return
    made = RedisBackend(request.getfixturevalue(request.param).url, name_prefix)
    yield made
    await made.flush()
    await made.close()


@pytest.fixture
def tables(backend):
    return backend.tables()
