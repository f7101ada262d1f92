"""The plan ladder."""

from cluster import plans


def test_ladder_is_as_users_know_it() -> None:
    """Names, memory and connections are those of the published ladder."""
    found = {plan.name: (plan.memory >> 20, plan.clients) for plan in plans.LADDER.values()}

    assert found == {
        "free": (25, 50),
        "starter": (256, 250),
        "standard": (1024, 1000),
        "pro": (5120, 5000),
        "pro_plus": (10240, 10000),
    }


def test_only_the_free_plan_promises_nothing() -> None:
    """Every plan but free keeps data on disk."""
    assert [plan.name for plan in plans.LADDER.values() if not plan.disk] == ["free"]


def test_memory_is_shared_out_over_shards() -> None:
    """The shards together have the plan's memory, and no more."""
    share = plans.node_memory(plans.LADDER["standard"], 3)

    assert share == 357913941
    assert share * 3 <= 1 << 30


def test_nodes_grant_more_than_the_plan_for_our_own_links() -> None:
    """A full plan leaves room for sentinels, replicas and proxies."""
    assert plans.node_clients(plans.custom(1 << 30, 10)) == 10 + plans.OWN_LINKS
