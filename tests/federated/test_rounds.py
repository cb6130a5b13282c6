"""Federated rounds without anybody who carries messages: means, versions, and what each client lacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rounds import assert_same, caught_up, pictures, plan_of_rounds, take_round, weights
from sparsebp.data.sources import Arrays
from sparsebp.federated import CatchUp, Client, Examples, GlobalNetwork, Mean, Version, dirichlet
from sparsebp.runtime import Session


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_of_rounds(tmp_path_factory.mktemp("rounds") / "plan.safetensors")


@pytest.fixture
def network(plan: Path, tmp_path: Path) -> GlobalNetwork:
    return GlobalNetwork(plan, tmp_path / "global.safetensors")


# -- the mean -----------------------------------------------------------------------------------------


def test_a_mean_is_weighted_and_of_double_precision() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((50, 1000)).astype(np.float32)
    counts = generator.integers(1, 10_000, 50)
    mean = Mean(1000)
    for vector, count in zip(vectors, counts, strict=True):
        mean.add(vector, count)
    expected = (vectors.astype(np.longdouble) * counts[:, None]).sum(0) / counts.sum()
    assert (mean.replies, mean.weight) == (50, counts.sum())
    assert mean.result().dtype == np.float32
    np.testing.assert_allclose(mean.result(), expected.astype(np.float64), rtol=6e-8, atol=1e-12)  # half a float32


def test_one_reply_is_its_own_mean_bit_by_bit() -> None:
    mean, vector = Mean(1000), np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    mean.add(vector, 377)
    assert mean.result().tobytes() == vector.tobytes()


@pytest.mark.parametrize(
    ("values", "weight", "error", "words"),
    [
        (np.zeros(3, np.float64), 1, TypeError, "values: expected float32, got float64"),
        (np.zeros(2, np.float32), 1, ValueError, r"values: expected \[3\], got \[2\]"),
        (np.array([0, np.nan, 0], np.float32), 1, ValueError, "values: expected finite numbers"),
        (np.zeros(3, np.float32), 0, ValueError, "weight: expected a number above 0, .*, got 0"),
        (np.zeros(3, np.float32), np.inf, ValueError, "weight: expected"),
        (np.ones(3, np.float32), 1e300, ValueError, r"weight: expected .* from 1e-15 to 1e\+15, got 1e\+300"),
        (np.zeros(3, np.float32), "5", TypeError, "weight: expected a number, got '5'"),
    ],
)
def test_what_does_not_fit_leaves_the_mean_as_it_was(
    values: np.ndarray, weight: float, error: type[Exception], words: str
) -> None:
    mean = Mean(3)
    mean.add(np.ones(3, np.float32), 2)
    with pytest.raises(error, match=words):
        mean.add(values, weight)
    assert (mean.replies, mean.weight, mean.result().tolist()) == (1, 2, [1, 1, 1])


def test_there_is_no_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        Mean(3).result()


# -- a round ------------------------------------------------------------------------------------------


def test_a_round_is_the_mean_of_what_clients_trained(network: GlobalNetwork, plan: Path, tmp_path: Path) -> None:
    clients = [Client(tmp_path / name, plan) for name in "ab"]
    first, second = take_round(network, clients, [1, 2])
    expected = (first.values.astype(np.float64) * 6 + second.values.astype(np.float64) * 7) / 13
    assert (network.session.get_trainable() == expected.astype(np.float32)).all()
    assert (first.values != second.values).any()
    round_ = network.file.rounds[0]
    assert (round_.turn, round_.replies, round_.failures, round_.examples) == (1, 2, 0, 13)
    assert (round_.bytes_down, round_.bytes_up) == (0, 2 * first.values.nbytes)


def test_clients_that_missed_rounds_become_the_global_network(
    network: GlobalNetwork, plan: Path, tmp_path: Path
) -> None:
    always, seldom = Client(tmp_path / "always", plan), Client(tmp_path / "seldom", plan)
    take_round(network, [always, seldom], [1, 2])
    for seed in (3, 4):
        take_round(network, [always], [seed])
    for client in (seldom, Client(tmp_path / "new", plan), Client(tmp_path / "without a plan")):
        caught_up(client, network)
        assert client.session is not None
        assert_same(weights(client.session, tmp_path / "x"), weights(network.session, tmp_path / "y"))


def test_who_lacks_rounds_gets_their_rows_and_who_has_nothing_the_file(network: GlobalNetwork, plan: Path) -> None:
    begin = network.version
    assert network.catch_up(begin).size == 0
    assert network.catch_up(None).file == network.out.read_bytes()
    values, drawn = network.session.get_trainable(), network.session.drawn_numbers
    assert network.catch_up(Version(0, "00" * 32)).file  # a network that these rounds do not know
    for lacking in (1, 2):
        network.begin()
        network.add(values, 1)
        network.merge()
        given = network.catch_up(begin)
        assert given.size == 4 * (len(values) + (lacking - 1) * drawn)
        assert given.turns == tuple(range(1, lacking + 1))
        assert CatchUp.from_record(given.to_record()) == given
    assert given.size < len(network.out.read_bytes())


def test_rows_that_are_more_than_the_file_are_not_sent(network: GlobalNetwork) -> None:
    begin, values = network.version, network.session.get_trainable()
    while not network.catch_up(begin).file:
        network.begin()
        network.add(values, 1)
        network.merge()
        assert len(network.file.rounds) < 30
    assert network.catch_up(network.file.rounds[-2].version).turns == (len(network.file.rounds),)


def test_a_client_that_has_another_network_says_so_and_stays_as_it_is(
    network: GlobalNetwork, plan: Path, tmp_path: Path
) -> None:
    client = Client(tmp_path / "client", plan)
    given = CatchUp(network.version, (Version(0, "00" * 32),), (1,), bytes(4 * len(network.session.get_trainable())))
    before = client.version
    assert before is not None
    assert not client.catch_up(given)
    assert not Client(tmp_path / "empty").catch_up(given)
    assert client.version == before
    with pytest.raises(ValueError, match=r"numbers: expected .* for 1 turns, got 1"):
        client.catch_up(CatchUp(network.version, (client.version,), (1,), bytes(4)))


def test_what_a_client_trained_is_in_its_reply_and_not_in_its_network(
    network: GlobalNetwork, plan: Path, tmp_path: Path
) -> None:
    client = Client(tmp_path / "client", plan)
    assert client.session is not None
    before = weights(client.session, tmp_path / "x")
    reply = client.train(1, pictures(5, 0), epochs=3)
    assert (reply.examples, reply.steps) == (5, 6)
    assert (reply.values != client.session.get_trainable()).any()
    assert_same(weights(client.session, tmp_path / "x"), before)
    assert client.train(2, pictures(5, 0), steps=1).examples == 4


def test_a_client_that_diverges_keeps_nothing_of_the_round(tmp_path: Path) -> None:
    client = Client(tmp_path / "client", plan_of_rounds(tmp_path / "plan", lr=1e6))
    assert client.session is not None
    before = weights(client.session, tmp_path / "x")
    with pytest.raises(FloatingPointError, match=r"turn 1: training diverged, .* Take a smaller rate"):
        client.train(1, pictures(40, 0), epochs=5)
    assert_same(weights(client.session, tmp_path / "x"), before)


def test_too_few_replies_change_nothing_and_the_next_round_trains_the_same_turn(
    network: GlobalNetwork, plan: Path, tmp_path: Path
) -> None:
    client, before = Client(tmp_path / "client", plan), network.out.read_bytes()
    turn = network.begin()
    reply = client.train(turn, pictures(4, 0))
    network.add(reply.values, 4)
    network.fail()
    assert network.merge(min_replies=2) is None
    assert network.out.read_bytes() == before
    assert network.begin() == turn
    with pytest.raises(ValueError, match="diverged"):
        network.add(np.full_like(reply.values, np.nan), 4)
    network.add(reply.values, 4)
    assert network.merge() is not None
    assert (network.file.rounds[0].replies, network.file.rounds[0].failures) == (1, 1)


def test_other_numbers_take_the_place_of_a_merged_mean(network: GlobalNetwork, plan: Path, tmp_path: Path) -> None:
    client = Client(tmp_path / "client", plan)
    take_round(network, [client], [1])
    merged, mark = network.session.get_trainable(), network.version.mark
    network.replace(merged + np.float32(0.5))
    assert network.version.mark != mark
    assert (network.session.get_trainable() == merged + np.float32(0.5)).all()
    caught_up(client, network)
    assert client.session is not None
    assert_same(weights(client.session, tmp_path / "x"), weights(network.session, tmp_path / "y"))


def test_a_client_that_is_further_than_the_server_thinks_takes_what_it_is_sent(
    network: GlobalNetwork, plan: Path, tmp_path: Path
) -> None:
    client, other = Client(tmp_path / "client", plan), Client(tmp_path / "other", plan)
    begin = client.version
    take_round(network, [other], [1])
    caught_up(client, network)  # and its reply is lost
    take_round(network, [other], [2])
    assert client.catch_up(network.catch_up(begin))
    assert client.session is not None
    assert_same(weights(client.session, tmp_path / "x"), weights(network.session, tmp_path / "y"))


# -- kills --------------------------------------------------------------------------------------------


def test_a_server_goes_on_from_its_file_with_the_same_bits(plan: Path, tmp_path: Path) -> None:
    ends = []
    for name, breaks in (("whole", []), ("broken", [1, 2])):
        network = GlobalNetwork(plan, tmp_path / name)
        clients = [Client(tmp_path / f"{name} {c}", plan) for c in "ab"]
        for round_ in range(3):
            if round_ in breaks:
                network = GlobalNetwork(plan, tmp_path / name, resume=True)
            take_round(network, clients, [round_, round_ + 10])
        ends.append((weights(network.session, tmp_path / "x"), network.version))
    assert_same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_a_round_that_was_not_saved_is_taken_again(network: GlobalNetwork, plan: Path, tmp_path: Path) -> None:
    client = Client(tmp_path / "client", plan)
    take_round(network, [client], [1])
    saved = network.out.read_bytes()
    take_round(network, [client], [2])
    network.out.write_bytes(saved)  # killed between the two files
    again = GlobalNetwork(plan, network.out, resume=True)
    assert again.begin() == 2
    caught_up(client, again)  # whose round the server forgot: the file is sent
    assert client.version == again.version


def test_a_client_goes_on_from_its_folder(network: GlobalNetwork, plan: Path, tmp_path: Path) -> None:
    client = Client(tmp_path / "client", plan)
    take_round(network, [client], [1])
    caught_up(client, network).save()
    again = Client(tmp_path / "client")
    assert again.version == network.version
    take_round(network, [again], [2])
    assert (tmp_path / "client" / "version.json").exists()
    (tmp_path / "client" / "version.json").unlink()  # killed while it saved
    assert Client(tmp_path / "client").version is None


def test_features_are_kept_in_the_folder_and_train_the_same_bits(plan: Path, tmp_path: Path) -> None:
    client, own = Client(tmp_path / "client", plan), pictures(6, 3)
    kept = client.kept_features(own)
    assert kept.features
    direct, kept_ones = client.train(1, own), Client(tmp_path / "other", plan).train(1, kept)
    assert direct.values.tobytes() == kept_ones.values.tobytes()
    assert client.evaluate(own) == client.evaluate(kept)
    (file,) = (tmp_path / "client").glob("features-*.npy")
    before = file.stat().st_mtime_ns
    client.kept_features(own)
    assert file.stat().st_mtime_ns == before


def test_features_are_made_anew_for_other_pictures_and_by_other_weights(plan: Path, tmp_path: Path) -> None:
    own = pictures(4, 3)
    others = Examples(pictures(4, 4).pixels, own.labels)
    plans = plan, plan_of_rounds(tmp_path / "plan", seed=1)
    for network, given in ((plans[0], own), (plans[0], others), (plans[1], others), (plans[1], own)):
        client = Client(tmp_path / "client", network)
        assert client.session is not None
        expected = np.concatenate([client.session.features(given.pixels[[i]]) for i in range(4)])
        assert (client.kept_features(given).pixels[:] == expected).all()
    assert len([*(tmp_path / "client").glob("features-*")]) == 1


def test_pictures_of_a_source_have_its_fingerprint(plan: Path) -> None:
    images, labels = np.zeros((3, 20, 20, 3), np.uint8), [0, 1, 2]
    session, changed = Session(plan), images.copy()
    changed[2, 0, 0, 0] = 1

    def fingerprint(given: np.ndarray, numbers: list[int]) -> str:
        return Examples.of_source(session, Arrays(given, labels), numbers).fingerprint()

    assert fingerprint(images, [0, 2]) == fingerprint(images.copy(), [0, 2])
    assert len({fingerprint(i, n) for i, n in ((images, [0, 2]), (changed, [0, 2]), (images, [2, 0]))}) == 3


def test_a_client_with_nothing_to_do_says_so(plan: Path, tmp_path: Path) -> None:
    client, none = Client(tmp_path / "client", plan), pictures(0, 0)
    for nothing in (lambda: client.train(1, none), lambda: client.kept_features(none)):
        with pytest.raises(ValueError, match="examples: expected at least one picture, got none"):
            nothing()
    for asked in ({"epochs": 0}, {"epochs": -1}, {"steps": -2}):
        with pytest.raises(ValueError, match="epochs: expected at least 1, or a number of steps, got"):
            client.train(1, pictures(2, 0), **asked)
    with pytest.raises(ValueError, match="labels: expected one for each of 2 pictures, got 3"):
        Examples(pictures(2, 0).pixels, [0, 1, 2])


def test_files_of_rounds_that_do_not_fit_are_refused(network: GlobalNetwork, plan: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="resume its rounds, or write to another file"):
        GlobalNetwork(plan, network.out)
    file = tmp_path / "global.safetensors.rounds.json"
    data = json.loads(file.read_text())
    file.write_text(json.dumps(data | {"first": {"turn": 3, "mark": "00"}}))
    with pytest.raises(ValueError, match="it ends with turn 3, the plan file beside it with 0"):
        GlobalNetwork(plan, network.out, resume=True)
    file.write_text("{}")
    with pytest.raises(ValueError, match="it is no file of federated rounds; remove it to begin anew"):
        GlobalNetwork(plan, network.out, resume=True)


def test_rounds_go_on_with_the_plan_that_they_began_with(network: GlobalNetwork, plan: Path, tmp_path: Path) -> None:
    other = plan_of_rounds(tmp_path / "other", lr=0.5)
    with pytest.raises(ValueError, match=r"plan: the rounds of .*global.safetensors began with another plan file"):
        GlobalNetwork(other, network.out, resume=True)
    for known in (plan, network.out, tmp_path / "gone"):
        assert GlobalNetwork(known, network.out, resume=True).version == network.version


def test_a_plan_that_draws_by_what_was_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold: the draws of importance and top-k"):
        GlobalNetwork(plan_of_rounds(tmp_path / "plan", sampler="importance"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- dividing pictures --------------------------------------------------------------------------------


def test_a_division_gives_every_picture_to_one_client_and_depends_on_the_seed_alone() -> None:
    labels = np.repeat(np.arange(10), 100)
    parts = dirichlet(labels, 8, alpha=0.5, seed=3, least=20)
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    assert min(map(len, parts)) >= 20
    again, other = dirichlet(labels, 8, seed=3, least=20), dirichlet(labels, 8, seed=4, least=20)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(parts, other, strict=True))


def test_a_large_alpha_divides_every_class_evenly_and_a_small_one_does_not() -> None:
    labels = np.repeat(np.arange(10), 400)

    def largest_share(alpha: float) -> float:
        counts = np.array([np.bincount(labels[p], minlength=10) for p in dirichlet(labels, 4, alpha=alpha)])
        return float((counts / counts.sum(0)).max())

    assert largest_share(1e6) < 0.26
    assert largest_share(0.1) > 0.8


@pytest.mark.parametrize(
    ("given", "words"),
    [({"clients": 0}, "clients: expected at least 1"), ({"alpha": 0.0}, "alpha: expected"), ({"least": 30}, "too few")],
)
def test_divisions_that_cannot_be_are_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dirichlet(np.zeros(100, int), **{"clients": 4, **given})  # type: ignore[arg-type]
