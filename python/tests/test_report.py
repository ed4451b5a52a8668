import html.parser

import numpy as np
import pytest
from conftest import make_images, make_logits

import offramp
from offramp import policy

COSTS = [0.3, 0.6, 1.05]


class Page(html.parser.HTMLParser):
    """Text and addresses of a page."""

    def __init__(self, page):
        super().__init__()
        self.text, self.sources, self.documents = "", [], []
        self.feed(page)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.documents += [value for name, value in attributes if name == "srcdoc"]
        self.sources += [value for name, value in attributes if name in ("src", "href")]


@pytest.fixture(scope="module")
def test_set():
    return make_logits(300, seed=7)


def test_a_page_shows_the_policy_and_the_images(test_set, tmp_path):
    tune = make_logits(1000, seed=8)
    certified = policy.certify(*tune, *make_logits(3000, seed=9), COSTS, epsilon=0.03)
    file = tmp_path / "report.html"
    page = offramp.report(
        *test_set,
        COSTS,
        policy=certified,
        images=make_images(300),
        tune_logits=tune[0],
        tune_labels=tune[1],
        classes=["cat", "dog", "frog", "ship", "<b>"],
        title="someone's network",
        facts={"framework": "none"},
        path=file,
    )
    assert file.read_text(encoding="utf-8") == page
    assert page.path == str(file) and len(repr(page)) < 300 and "MB of HTML" in repr(page)
    without = offramp.report(*test_set, COSTS)
    assert without.path is None
    without.save(tmp_path / "later.html")
    assert without.path == str(tmp_path / "later.html")
    assert (tmp_path / "later.html").read_text(encoding="utf-8") == without
    frame = Page(without._repr_html_())
    assert Page(frame.documents[0]).text == Page(without).text
    shown = Page(page)
    for text in ("someone's network", "cat", "<b>", "framework", certified.statement, "not checked here"):
        assert text in shown.text
    assert all(source.startswith(("data:", "#")) for source in shown.sources)
    assert "data:image/png;base64," in page


def test_a_page_needs_arrays_alone(test_set):
    for rule in (None, policy.Policy([0.9, 0.9]), policy.choose(*test_set, COSTS, max_cost=0.6)):
        assert "exit 3" in Page(offramp.report(*test_set, COSTS, policy=rule)).text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"costs": [1, 2]}, "costs"),
        ({"classes": ["one"]}, "classes: expected 5, got 1"),
        ({"names": ["one"]}, "names: expected 300"),
        ({"images": np.zeros((300, 3, 8, 8), np.uint8)}, "images"),
        ({"images": np.zeros((299, 8, 8, 3), np.uint8)}, "300"),
        ({"policy": policy.Policy([0.5])}, "thresholds|exits|temperatures"),
        ({"tune_logits": np.zeros((2, 10, 5)), "tune_labels": np.zeros(10, int)}, "tune_logits"),
    ],
)
def test_what_does_not_fit_is_refused(test_set, change, message):
    arguments = {"logits": test_set[0], "labels": test_set[1], "costs": COSTS, **change}
    with pytest.raises(offramp.Error, match=message):
        offramp.report(**arguments)
