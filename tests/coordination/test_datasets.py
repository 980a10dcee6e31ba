"""Published datasets."""

from __future__ import annotations

import pytest
from coordination_helpers import network, run, wait_until

from distributed import Client, LocalCluster


def test_publishing(client: Client) -> None:
    client.publish_dataset(1, name="one")
    client.publish_dataset(two=2, three=3)
    client.publish_dataset({"four": 4})
    assert sorted(client.list_datasets()) == ["four", "one", "three", "two"]
    assert client.get_dataset("one") == 1
    with pytest.raises(KeyError, match="already exists"):
        client.publish_dataset(2, name="one")
    client.publish_dataset(2, name="one", override=True)
    assert client.get_dataset("one") == 2
    client.unpublish_dataset("one")
    with pytest.raises(KeyError, match="not found"):
        client.get_dataset("one")
    assert client.get_dataset("one", default=None) is None
    with pytest.raises(ValueError, match="positional argument must be"):
        client.publish_dataset(5)
    with pytest.raises(ValueError, match="expecting call signature"):
        client.publish_dataset(5, 6, name="x")


def test_the_mapping(client: Client) -> None:
    client.datasets["x"] = [1]
    client.datasets["x"] = [2]
    assert client.datasets["x"] == [2]
    assert "x" in client.datasets
    assert list(client.datasets) == ["x"]
    assert len(client.datasets) == 1
    assert client.datasets.get("y") is None
    del client.datasets["x"]
    with pytest.raises(KeyError):
        client.datasets["x"]
    with pytest.raises(KeyError):
        del client.datasets["x"]


def test_published_results_outlive_their_client(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster, set_as_default=False) as other:
        other.publish_dataset([other.submit(lambda: 5, key="five")], name="d")
    wait_until(lambda: all(not c.startswith(other.id) for c in cluster.scheduler.clients), "it is gone")
    (future,) = client.get_dataset("d")
    assert future.result() == 5
    client.unpublish_dataset("d")
    assert future.result() == 5
    del future
    wait_until(lambda: "five" not in cluster.scheduler.tasks, "nobody wants it any more")


def test_collections(client: Client) -> None:
    db = pytest.importorskip("dask.bag")
    bag = client.persist(db.from_sequence(range(10), npartitions=2).map(lambda x: x + 1))
    client.publish_dataset(bag=bag)
    del bag
    assert client.get_dataset("bag").sum().compute() == 55


def test_asynchronous() -> None:
    async def test() -> None:
        async with network() as (_, _, client):
            await client.publish_dataset(x=1)
            assert await client.get_dataset("x") == 1
            assert await client.datasets.get("x") == 1
            assert [name async for name in client.datasets] == ["x"]
            for use in (len, list, lambda d: "x" in d, lambda d: d.__setitem__("x", 1)):
                with pytest.raises(TypeError, match="asynchronous"):
                    use(client.datasets)
            await client.unpublish_dataset("x")
            assert await client.list_datasets() == []

    run(test)
