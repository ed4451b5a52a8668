import asyncio
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tiny_model
from conftest import kernels_here, make_images

import offramp


def test_one_image_and_many_have_the_same_bits(model, images):
    session = model.session(probabilities=True)
    many = session.classify(images)
    for i, image in enumerate(images):
        one = session.classify(image)
        assert (one.class_index, one.exit, one.macs) == (
            many.class_index[i],
            many.exit[i],
            many.macs[i],
        )
        assert one.probability == many.probability[i]
        assert (one.probabilities == many.probabilities[i]).all()


def test_columns_and_items_agree(model, images):
    session = model.session()
    answers = session.classify(images)
    assert len(answers) == len(list(answers)) == 64
    assert answers.probabilities is None and answers.error == [None] * 64
    assert answers[-1].id == 63
    for answer in answers:
        assert answer.class_name == model.classes[answer.class_index]
        assert answer.relative_cost == model.relative_costs[answer.exit - 1]
    with pytest.raises(IndexError, match="64"):
        answers[64]
    assert "64 images" in repr(answers) and "exits 1: " in repr(answers)
    assert repr(answers[0]).startswith("Answer('")


def test_answers_become_a_frame(model, images):
    pandas = pytest.importorskip("pandas")
    answers = model.session().classify(images)
    frame = answers.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 64
    assert frame["class_name"].tolist() == answers.class_name


def test_rules_decide_where_images_stop(model, images):
    assert (model.session("never").classify(images).exit == 3).all()
    assert (model.session(0.0).classify(images).exit == 1).all()
    assert (model.session(offramp.Stop.at_score("margin", 0.0)).classify(images).exit == 1).all()
    assert (model.session().classify(images, stop="never").exit == 3).all()
    budget = int(model.macs[0])
    limited = model.session(offramp.Stop.never().and_within_macs(budget)).classify(images)
    assert (limited.exit == 1).all() and limited.limited.all()
    timed = model.session(deadline_ms=10_000).classify(images)
    assert (timed.exit == model.session().classify(images).exit).all()
    assert model.session().classify(images[0], deadline_ms=10_000).exit in (1, 2, 3)


def test_rules_that_make_no_sense_are_refused(model, images):
    for stop in (7.0, float("nan"), "sometimes", offramp.Stop.within_macs(1_000)):
        if isinstance(stop, offramp.Stop):
            assert model.session(stop).classify(images[0]).exit == 1
            continue
        with pytest.raises(ValueError):
            model.session(stop)
    with pytest.raises(ValueError):
        offramp.Stop.at_score("surprise", 0.5)
    with pytest.raises(ValueError):
        model.session(deadline_ms=-1)
    with pytest.raises(TypeError, match="stop"):
        model.session([])


def test_numbers_of_numpy_are_rules(model, images):
    expected = model.session(0.5).classify(images).exit
    for number in (np.float32(0.5), np.float16(0.5), np.float64(0.5), np.array(0.5)):
        assert (model.session(number).classify(images).exit == expected).all()
        assert model.session().classify(images[0], stop=number).exit == expected[0]
    for one in (1, np.int64(1), np.uint8(1)):
        assert model.session(one).classify(images[0]).exit in (1, 2, 3)
    limited = model.session(0.5, deadline_ms=np.float32(10_000)).classify(images)
    assert (limited.exit == expected).all()
    budget = offramp.Stop.never().and_within_macs(model.macs[0]).and_within(np.int64(10_000))
    assert (model.session(budget).classify(images).exit == 1).all()
    assert len(list(model.session().stream(images, max_pending=np.int64(16)))) == 64
    loaded = offramp.load(model.path, threads=np.int32(1), batch=np.int64(4))
    assert loaded.threads == 1
    for wrong in (True, np.True_, np.array(True), np.array([0.5, 0.5]), 1j):
        for deadline_ms in (None, 10_000):
            with pytest.raises(TypeError, match="stop"):
                model.session(wrong, deadline_ms=deadline_ms)
    with pytest.raises(ValueError, match="^stop: .* got \"sometimes\"$"):
        model.session("sometimes", deadline_ms=10_000)


def test_rules_show_how_they_were_made(model):
    stop = offramp.Stop
    for text in (
        "Stop.by_policy()", "Stop.never()", "Stop.at_threshold(0.5)", "Stop.within(5.0)",
        "Stop.at_score('patience', 2.0)", "Stop.at_step(1)", "Stop.within_macs(1000)",
        "Stop.by_policy().and_within(2.5).and_within_macs(1000)",
    ):  # fmt: skip
        rule = eval(text, {"Stop": stop})
        assert repr(rule) == text
        other = pickle.loads(pickle.dumps(rule))
        assert other == rule and repr(other) == text
    assert repr(stop.at_threshold(np.float32(0.25))) == "Stop.at_threshold(0.25)"
    assert stop.at_threshold(0.5) != stop.at_threshold(0.6)


def test_a_wrong_kind_of_number_is_refused_in_one_line(model):
    stop = offramp.Stop
    for call, message in (
        (lambda: stop.at_threshold(None), "threshold: expected a number, got NoneType"),
        (lambda: stop.at_threshold("0.5"), "threshold: expected a number, got str"),
        (lambda: stop.at_score(3, 0.5), "criterion: expected a str"),
        (lambda: stop.at_step(1.0), "step: expected a whole number, got float"),
        (lambda: stop.within("5"), "milliseconds: expected a number, got str"),
        (lambda: stop.never().and_within_macs(1e6), "macs: expected a whole number, got float"),
        (lambda: model.session(max_pixels=1.5), "max_pixels: expected a whole number, got float"),
        (lambda: model.session(deadline_ms="5"), "milliseconds: expected a number, got str"),
        (lambda: next(model.session().stream([], max_pending=None)), "max_pending: .* NoneType"),
        (lambda: next(model.session().stream([], flush_after_ms="5")), "flush_after_ms: .* str"),
        (lambda: offramp.load(model.path, threads=1.5), "threads: .* got float"),
        (lambda: offramp.load(model.path, precision=None), "precision: expected a str, got None"),
    ):
        with pytest.raises(TypeError, match=f"^{message}") as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="^step: expected a whole number of at most 63 bits$"):
        stop.at_step(2**70)
    with pytest.raises(ValueError, match="^max_pending: expected at least 1, got 0$"):
        next(model.session().stream([], max_pending=0))


def test_handles_are_short_at_a_prompt(model, images):
    withdrawn = offramp.Cancellation()
    assert repr(withdrawn) == "Cancellation(cancelled=False)"
    withdrawn.cancel()
    assert repr(withdrawn) == "Cancellation(cancelled=True)"
    session = model.session()
    session.classify(images)
    stats = session.stats()
    assert repr(stats).startswith(f"Stats(64 images; exits 1: {stats.exits[0]}, 2: ")
    assert len(repr(stats)) < 200 and repr(model.session().stats()) == "Stats(0 images)"
    assert repr(model.guarantee()).startswith("Guarantee(harm ≤ 0.02 with probability ≥ 0.95; in force")
    assert repr(model.policy_path[0]) == (
        "PolicyStep(thresholds none, none, accuracy 0.9000 at relative cost 1.100, certified)"
    )
    waiting = model.async_session()
    assert repr(waiting).startswith("AsyncSession(Model(")
    waiting.close()


def test_steps_of_the_certified_path_are_rules(model, images):
    path = model.policy_path
    assert [step.certified for step in path] == [True, True, True, False]
    assert path[1].thresholds == [pytest.approx(0.9)] * 2 and path[0].thresholds == [None, None]
    assert (path[1].accuracy, path[1].relative_cost) == (0.89, 0.8)
    assert model.chosen_step == 2 and model.criterion == "confidence"
    expected = model.session().classify(images)
    assert (model.session(offramp.Stop.at_step(2)).classify(images).exit == expected.exit).all()
    assert (model.session(offramp.Stop.at_step(0)).classify(images).exit == 3).all()
    with pytest.raises(ValueError):
        model.session(offramp.Stop.at_step(3))


def test_large_images_can_be_refused(model, images):
    session = model.session(max_pixels=np.int64(32 * 32))
    assert session.classify(images[0]).error is None
    with pytest.raises(offramp.Error, match="pixels|large"):
        session.classify(make_images(1, 0, 36, 36)[0])
    for wrong in (0, 2**27 + 1):
        with pytest.raises(ValueError, match="max_pixels"):
            model.session(max_pixels=wrong)


def test_an_answer_shows_that_it_was_limited(model, images):
    session = model.session(offramp.Stop.never().and_within_macs(int(model.macs[0])))
    answers = session.classify(images)
    assert "limited=True" in repr(answers[0]) and "64 limited" in repr(answers)
    plain = model.session().classify(images)
    assert "limited" not in repr(plain[0]) and "limited" not in repr(plain)


def test_a_frame_needs_pandas(model, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        model.session().classify(images).to_pandas()


def test_logits_are_those_that_the_answers_come_of(two_threads, images):
    session = two_threads.session("never")
    logits = session.logits(images)
    assert logits.shape == (3, 64, 5) and logits.dtype == np.float32
    assert (logits[-1].argmax(axis=1) == session.classify(images).class_index).all()
    assert (session.logits(images[5]) == logits[:, 5:6]).all()


@pytest.mark.parametrize("in_order", [True, False])
def test_a_stream_answers_each_image_once(two_threads, images, in_order):
    session = two_threads.session()
    expected = session.classify(images)
    answers = list(session.stream(iter(images), in_order=in_order, max_pending=20))
    ids = [answer.id for answer in answers]
    assert sorted(ids) == list(range(64))
    assert not in_order or ids == sorted(ids)
    for answer in answers:
        assert answer.exit == expected.exit[answer.id]
        assert answer.probability == expected.probability[answer.id]


def test_a_stream_has_the_errors_of_its_images(model, images):
    answers = list(model.session().stream([images[0], "nowhere.png", b"hello", images[1]]))
    assert [answer.error is None for answer in answers] == [True, False, False, True]
    with pytest.raises(TypeError, match="int"):
        list(model.session().stream([images[0], 5]))
    with pytest.raises(ValueError, match="item 0"):
        list(model.session().stream([images]))
    with pytest.raises(ValueError, match="max_pending|most_pending"):
        list(model.session().stream(images, max_pending=0))


def test_a_stream_of_one_image_is_refused(model, tmp_path):
    for one in ("image.png", tmp_path / "image.png", b"\x89PNG"):
        with pytest.raises(TypeError, match="^stream: expected an iterable of images, got one image"):
            next(model.session().stream(one))
    with pytest.raises(TypeError, match="^item 1: int is no image"):
        list(model.session().stream([np.zeros((32, 32, 3), np.uint8), 5]))


def test_a_stream_that_is_left_leaves_the_session_usable(model, images):
    session = model.session()
    stream = session.stream(images, max_pending=16)
    next(stream)
    stream.close()
    assert len(list(session.stream(images))) == 64


def test_an_older_stream_leaves_a_newer_one_alone(model, images):
    session = model.session(0.0)
    older = session.stream(images[:8])
    next(older)  # all 8 run together, so none waits
    newer = session.stream(images[:20])
    next(newer)
    older.close()
    answers = list(newer)
    assert [answer.id for answer in answers] == list(range(1, 20))
    assert [answer.error for answer in answers] == [None] * 19

    older = session.stream(images[:16])
    next(older)
    newer = session.stream(images[:20])
    first = [next(newer)]
    assert [next(older).id for _ in range(7)] == list(range(1, 8))  # of before
    with pytest.raises(ValueError, match="another stream of this session was begun"):
        next(older)
    assert [answer.id for answer in first + list(newer)] == list(range(20))


def test_a_stream_with_images_that_wait_is_not_replaced(model, images):
    """Images that go on past an exit wait for others to fill a batch."""
    session = model.session()
    older = session.stream(images, in_order=False)
    next(older)
    with pytest.raises(ValueError, match="images of another stream of this session"):
        next(session.stream(images))
    assert len(list(older)) == 63
    older = session.stream(images, in_order=False)
    next(older)
    with pytest.raises(ValueError):
        next(session.stream(images))
    older.close()
    assert len(list(session.stream(images))) == 64


def test_a_stream_takes_images_as_they_are_needed(model, images):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield images[taken % 64]

    stream = model.session().stream(endless(), max_pending=16)
    for _ in range(100):
        next(stream)
    assert taken < 200
    stream.close()


def test_statistics_count_what_was_answered(model, images):
    session = model.session()
    answers = session.classify(images)
    session.classify([b"no image"])
    stats = session.stats()
    assert stats.images == 64
    assert stats.exits.tolist() == np.bincount(answers.exit, minlength=4)[1:].tolist()
    assert stats.macs == answers.macs.sum()
    assert stats.relative_cost == pytest.approx(answers.relative_cost.mean())
    assert stats.drift == "unknown"
    session.reset_stats()
    assert session.stats().images == 0 and "0 images" in repr(session)


def test_statistics_of_workers_are_merged_by_their_counts(model):
    whole = model.session()
    workers = [model.session(), model.session()]
    for seed in range(5):
        whole.classify(make_images(64, seed))
        workers[seed % 2].classify(make_images(64, seed))
    merged = model.stats_of(sum(worker.stats().exits for worker in workers))
    expected = whole.stats()
    assert merged.exits.tolist() == expected.exits.tolist()
    assert (merged.images, merged.macs, merged.relative_cost) == (
        expected.images,
        expected.macs,
        expected.relative_cost,
    )
    assert merged.drift == "drifted"  # the shares in the file are made up
    assert merged.drift == expected.drift and merged.calibrated_images == 2000
    assert model.stats_of([0, 0, 0]).drift == "unknown"
    for wrong in ([1, 2], [1, 2, -3], [0.5, 0.5, 0.0]):
        with pytest.raises(ValueError, match="each of 3 exits"):
            model.stats_of(wrong)


def test_a_drift_puts_the_guarantee_out_of_force(tmp_path, model_path):
    """Few images are unknown, like ones keep it in force, and others do not."""
    session = offramp.load(model_path, threads=2).session()
    unknown = session.guarantee()
    assert unknown.in_force is None and "too few" in unknown.why
    dark = np.zeros((600, 32, 32, 3), dtype=np.uint8)  # all stop at one exit
    where = session.classify(dark).exit[0]
    stats = session.stats()
    assert stats.drift == "drifted" and stats.drift_p_value < 1e-4
    assert session.guarantee().in_force is False and "exits" in session.guarantee().why
    assert session.model.guarantee().in_force is True

    shares = np.eye(3)[where - 1]
    alike = tiny_model.write(tmp_path / "alike.safetensors", kernels=kernels_here(tmp_path), shares=shares)
    session = offramp.load(alike, threads=2).session()
    session.classify(dark)
    assert session.stats().drift == "none"
    assert session.guarantee() == offramp.Guarantee("harm", 0.02, 0.05, True, "")


def test_threads_may_share_a_model_and_a_session(two_threads, images):
    shared = two_threads.session()
    expected = shared.classify(images).probability
    failures = []

    def work(session):
        for _ in range(5):
            if not (session.classify(images).probability == expected).all():
                failures.append("batch")
            if session.classify(images[3]).probability != expected[3]:
                failures.append("one")

    threads = [
        threading.Thread(target=work, args=(session,))
        for session in (shared, shared, two_threads.session(), two_threads.session())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_other_threads_run_meanwhile(two_threads):
    """The interpreter's lock is free while the network runs."""
    many = make_images(20_000)
    session = two_threads.session("never")
    turns = 0
    done = False

    def count():
        nonlocal turns
        while not done:
            turns += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    before = turns
    session.classify(many)
    during = turns - before
    done = True
    thread.join()
    assert during > 10


@pytest.mark.parametrize("call", ["classify", "logits", "stream"])
def test_ctrl_c_ends_a_long_call(two_threads, call):
    """A signal's handler raises out of the call, and the session goes on afterwards."""
    session = two_threads.session("never")
    many = make_images(100_000)
    raised_at = None

    def handler(*_):
        nonlocal raised_at
        raised_at = time.monotonic()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            if call == "classify":
                session.classify(many)
            elif call == "logits":
                session.logits(many)
            else:
                for _ in session.stream(many, max_pending=100_000):
                    pass
    finally:
        signal.signal(signal.SIGALRM, before)
    ended = time.monotonic()
    print(f"ended {1e3 * (ended - raised_at):.0f} ms after the handler", file=sys.stderr)
    assert session.classify(many[0]).exit == 3


def test_cancelled_images_have_an_error(model, images):
    cancellation = offramp.Cancellation()
    cancellation.cancel()
    answers = model.session().classify(images, cancellation=cancellation)
    assert all("cancelled" in error for error in answers.error)
    with pytest.raises(offramp.Error, match="cancelled"):
        model.session().classify(images[0], cancellation=cancellation)


def test_asyncio(model, images):
    expected = model.session().classify(images).probability

    async def slowly():
        for image in images[:8]:
            await asyncio.sleep(0.001)
            yield image

    async def main():
        async with model.async_session() as session:
            both = await asyncio.gather(session.classify(images), session.classify(images[:3]))
            assert (both[0].probability == expected).all()
            assert (both[1].probability == expected[:3]).all()
            assert (await session.logits(images[:2])).shape == (3, 2, 5)
            answers = [a async for a in session.stream(slowly(), flush_after_ms=2)]
            assert [a.probability for a in answers] == expected[:8].tolist()
            answers = [a async for a in session.stream(images)]
            assert [a.probability for a in answers] == expected.tolist()

    asyncio.run(main())


def test_a_generator_that_waits_does_not_stop_the_event_loop(model, images):
    """Its images are read by another thread, and those that have waited are run meanwhile."""
    answered = threading.Event()

    def waiting():
        yield images[0]
        assert answered.wait(60)  # for the answer of the first image
        yield images[1]

    async def main():
        async with model.async_session("never") as session:
            ids = []
            async for answer in session.stream(waiting(), flush_after_ms=1):
                ids.append(answer.id)
                answered.set()
            assert ids == [0, 1]

            def failing():
                yield images[0]
                raise LookupError("no more")

            with pytest.raises(LookupError):
                async for answer in session.stream(failing(), flush_after_ms=1):
                    pass
            left = session.stream((image for image in images), flush_after_ms=1)
            await anext(left)
            await left.aclose()
            assert len([a async for a in session.stream(list(images))]) == 64

    asyncio.run(main())


def test_a_sequence_that_loads_its_images_does_not_stop_the_event_loop(model, images):
    answered = threading.Event()

    class Loader:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index == 1:
                assert answered.wait(20)  # for the answer of the first image
            return images[range(2)[index]]

    async def main():
        async with model.async_session("never") as session:
            ids = []
            async for answer in session.stream(Loader(), flush_after_ms=1):
                ids.append(answer.id)
                answered.set()
            assert ids == [0, 1]

    asyncio.run(main())


def test_a_generator_whose_image_never_comes_does_not_keep_python_from_exiting(model):
    code = f"""
import asyncio, threading, numpy, offramp
def endless():
    yield numpy.zeros((32, 32, 3), numpy.uint8)
    threading.Event().wait()
async def main():
    async with offramp.load({model.path!r}, threads=1).async_session("never") as session:
        answers = session.stream(endless(), flush_after_ms=1)
        print((await anext(answers)).exit)
        await answers.aclose()
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_leaving_an_asynchronous_session_does_not_block_the_event_loop(two_threads):
    turns = 0

    async def main():
        nonlocal turns
        async with two_threads.async_session("never") as session:
            call = asyncio.ensure_future(session.classify(make_images(5_000)))
            await asyncio.sleep(0)

            async def count():
                nonlocal turns
                while not call.done():
                    turns += 1
                    await asyncio.sleep(0.001)

            counter = asyncio.ensure_future(count())
        assert len(await call) == 5_000
        await counter

    asyncio.run(main())
    assert turns > 3


def test_a_cancelled_task_withdraws_its_images(two_threads):
    many = make_images(100_000)

    async def main():
        async with two_threads.async_session("never") as session:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.classify(many), 0.2)
            assert (await session.classify(many[0])).exit == 3

    asyncio.run(main())


def resident_kib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def test_memory_does_not_grow(model, images):
    """100,000 images in single calls, as files in memory, in lists, refused."""
    session = model.session(0.0, probabilities=True)
    bad = np.zeros((3, 32, 32), np.uint8)

    def use(count):
        for i in range(count):
            session.classify(images[i % 64])
            if i % 50 == 0:
                session.classify(list(images[:8]))
                session.classify([b"no image"])
                session.stats()
                with pytest.raises(ValueError):
                    session.classify(bad)

    use(5_000)
    gc.collect()
    before = resident_kib()
    use(int(os.environ.get("OFFRAMP_CALLS", "10000")))
    gc.collect()
    assert resident_kib() - before < 4096


def test_references_are_given_back(model, images):
    session = model.session()
    image = images[0].copy()
    before = sys.getrefcount(image)
    for _ in range(10):
        session.classify(image)
        session.classify([image, image])
    list(session.stream([image] * 5))
    assert sys.getrefcount(image) == before


def test_a_session_outlives_the_name_of_its_model(model_path, images):
    session = offramp.load(model_path, threads=1).session()
    gc.collect()
    assert session.classify(images[0]).exit in (1, 2, 3)


def test_answers_are_cut_like_lists(model, images):
    answers = model.session(probabilities=True).classify([*images[:4], b"no image", *images[4:9]])
    part = answers[3:6]
    assert isinstance(part, offramp.Answers) and len(part) == 3
    assert [one.class_index for one in part] == answers.class_index[3:6].tolist()
    assert part.error[1] == answers.error[4] and part.error[0] is None
    assert part.probabilities.shape == (3, 5) and part.classes == answers.classes
    assert len(answers[5:5]) == 0 and answers[np.int64(2)].exit == answers.exit[2]
    with pytest.raises(TypeError, match="columns are attributes, such as answers.exit"):
        answers["exit"]
