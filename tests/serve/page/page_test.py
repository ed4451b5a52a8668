"""The server's page in headless Chromium: real clicks, keys, file drops and pastes.

    python3 tests/serve/page/page_test.py                    # against mock_server.py
    python3 tests/serve/page/page_test.py PROGRAM MODEL      # and against the program
    OFFRAMP=PROGRAM MODEL=MODEL pytest tests/serve/page      # the same, with pytest's options

Exits with 77 where chromium, chromium-driver, selenium, Pillow or pytest are missing.
"""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

try:
    import PIL.Image
    import pytest
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    if not shutil.which("chromedriver") or not shutil.which("chromium"):
        raise ImportError("no chromium or no chromedriver")
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(77)

import drawings
from mock_server import Mock

WIDE, PHONE = (1280, 900), (390, 844)


class Page:
    """The page in a browser, as a person meets it."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                         "--hide-scrollbars", "--window-size=1280,900"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(
            shutil.which("chromedriver")))

    def command(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def open(self, address, size=WIDE, dark=False, calm=True):
        self.command("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1],
                     deviceScaleFactor=1, mobile=size[0] < 600)
        self.command("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}])
        self.driver.get(address)
        self.driver.get_log("browser")
        self.until(lambda: "exits" in self.text("facts") or self.shows("trouble") or
                   self.shows("ask-token"))

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name):
        return self.js("return document.getElementById(arguments[0]).textContent", name).replace(
            "\u00a0", " ")

    def shows(self, name):
        return self.find("#" + name).is_displayed()

    def click(self, selector):
        element = self.find(selector)
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        ActionChains(self.driver).move_to_element(element).click().perform()

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def choose(self, paths):
        self.find("#files").send_keys("\n".join(paths))

    def drop(self, paths):
        """Drags files into the window and lets them go there, as the system would."""
        data = {"items": [], "files": paths, "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, x=400, y=300, data=data)

    def paste(self, png):
        """Puts a picture on the clipboard and presses Ctrl+V."""
        self.command("Browser.grantPermissions",
                     permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        self.driver.execute_async_script(
            "const [text, done] = arguments;"
            "const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));"
            "const blob = new Blob([bytes], {type: 'image/png'});"
            "navigator.clipboard.write([new ClipboardItem({'image/png': blob})]).then(done, done)",
            base64.b64encode(png).decode())
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("v").key_up(
            Keys.CONTROL).perform()

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.text("status"), self.text("trouble"))
            time.sleep(0.05)

    def until_answered(self, number):
        self.until(lambda: sum(self.bins()) == number and self.text("status") and
                   not self.js("return workers"))

    def bins(self):
        return [int(b.text.replace(",", "")) for b in self.all(".bin .count span")]

    def cards(self):
        return self.js("""return [...document.querySelectorAll(".card")].map((card) => ({
            name: card.querySelector(".name").textContent,
            class: card.querySelector(".class").textContent,
            top: [...card.querySelectorAll("li span")].map((one) => one.textContent),
            facts: Object.fromEntries([...card.querySelectorAll("dt")].map((dt) =>
                [dt.textContent, dt.nextSibling.textContent.replace("\\u00a0", " ")]))}))""")

    def complaints(self):
        """What the browser complained about: violations of the policy, exceptions."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(
            self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@pytest.fixture(scope="module")
def page():
    one = Page()
    yield one
    one.driver.quit()


@pytest.fixture
def mock():
    servers = []

    def start(**options):
        servers.append(Mock(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@contextlib.contextmanager
def run_program():
    """Runs the real server; gives its address."""
    process = subprocess.Popen([os.environ["OFFRAMP"], "serve", os.environ["MODEL"], "--port", "0"],
                               stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[1]
    finally:
        process.terminate()
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def program():
    if "OFFRAMP" not in os.environ:
        pytest.skip("OFFRAMP names no program")
    with run_program() as address:
        yield address


@pytest.fixture(params=["mock", "program"])
def address(request):
    return (request.getfixturevalue("mock")().address if request.param == "mock"
            else request.getfixturevalue("program"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return drawings.write(tmp_path_factory.mktemp("pictures"), 10)


def classify(address, data):
    request = urllib.request.Request(address + "v1/classify?top_k=3", data, method="POST")
    return json.load(urllib.request.urlopen(request))


# ---- With both servers ---------------------------------------------------------------------

def test_each_chosen_image_is_shown_as_the_server_answered_it(page, address, pictures):
    page.open(address)
    assert [one.text for one in page.all(".count")] == ["0 images"] * len(page.bins())
    page.choose(pictures)
    page.until_answered(10)
    cards = page.cards()
    assert [card["name"] for card in cards] == [os.path.basename(path) for path in pictures]
    expected_bins = [0] * len(page.bins())
    answers = [classify(address, pathlib.Path(path).read_bytes()) for path in pictures]
    for card, answer in zip(cards, answers):
        assert card["class"] == answer["class"]
        assert card["top"] == [one["class"] for one in answer["top"]]
        assert card["facts"]["exit"] == f"{answer['exit']} of {answer['exits']}"
        assert float(card["facts"]["relative cost"]) == pytest.approx(answer["relative_cost"],
                                                                      abs=0.006)
        assert card["facts"]["time"].endswith(("ms", "s"))
        expected_bins[answer["exit"] - 1] += 1
    assert page.bins() == expected_bins
    last = page.js("return costs[costs.length - 1]")
    assert cards[0]["facts"]["saved"] == "%.0f %%" % (
        100 * (1 - answers[0]["relative_cost"] / last))
    assert "10 images answered" in page.text("status")
    assert page.complaints() == []


def test_dropped_files_are_classified(page, address, pictures):
    page.open(address, calm=False)
    page.drop(pictures[:4])
    page.until_answered(4)
    assert len(page.cards()) == 4
    assert page.all(".flier") == []
    assert page.complaints() == []


def test_a_dropped_folder_is_read(page, address, pictures):
    page.open(address)
    page.drop([os.path.dirname(pictures[0])])
    page.until_answered(10)
    assert page.complaints() == []


def test_a_pasted_image_is_classified(page, address):
    page.open(address)
    page.paste(drawings.picture(3)[1])
    page.until_answered(1)
    assert "of 3" in page.cards()[0]["facts"]["exit"]
    assert page.complaints() == []


def test_the_example_needs_one_click(page, address):
    page.open(address)
    page.click("#example")
    page.until_answered(1)
    assert page.cards()[0]["class"] + ", found at exit" in page.text("sentence")


def test_the_rule_that_is_chosen_is_the_one_that_is_sent(page, address, pictures):
    page.open(address)
    page.choose(pictures)
    page.until_answered(10)
    page.click("input[value=last]")
    page.until(lambda: page.bins()[-1] == 10)
    assert "nothing was saved" in page.text("sentence")
    page.click("input[value=threshold]")
    slider = page.find("#threshold")
    page.js("arguments[0].value = 0; arguments[0].dispatchEvent(new Event('change'))", slider)
    page.until(lambda: page.bins()[0] == 10)
    assert page.text("threshold-words") == "0"


def test_an_error_of_the_server_is_shown_in_its_words(page, address, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    page.open(address)
    page.choose([str(tmp_path / "broken.png"), str(tmp_path / "notes.txt"), pictures[0]])
    page.until(lambda: "1 image without an answer" in page.text("status"))
    assert "1 file left out: not images." in page.text("status")
    page.until(lambda: page.shows("filter"))
    page.click("#filter button[value='-1']")
    [card] = page.cards()
    assert card["name"] == "broken.png"
    request = urllib.request.Request(address + "v1/classify", b"no picture")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert card["class"] == json.load(error.value)["error"]


def test_five_hundred_images_at_once(page, address, tmp_path):
    paths = []
    for i, (name, data) in enumerate(drawings.picture(seed) for seed in range(20)):
        for copy in range(25):
            paths.append(str(tmp_path / f"{copy:02}-{name}"))
            with open(paths[-1], "wb") as file:
                file.write(data)
    page.open(address, calm=False)
    page.drop(paths)
    page.until_answered(500)
    assert len(page.cards()) == 24
    assert all(len(bin_.find_elements(By.TAG_NAME, "button")) <= 24 for bin_ in page.all(".bin"))
    page.click("#more")
    assert len(page.cards()) == 48
    assert "500 images answered" in page.text("status")
    assert page.complaints() == []


def test_the_charts_show_the_statistics(page, address, pictures):
    page.open(address)
    page.until(lambda: "answered since the start" in page.text("charts"))
    page.choose(pictures)
    page.until_answered(10)
    stats = json.load(urllib.request.urlopen(address + page.js("return address()")))
    number = stats["model_stats"][0]["inference_count"]
    page.until(lambda: f"{number:,} images answered" in page.text("chart-rate"))
    assert page.all("#chart-rate path.line") and page.all("#chart-latency path.line")
    assert page.all("#chart-shares path.fill")
    assert "ms" in page.text("chart-latency")
    assert page.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, PHONE, (320, 600)])
def test_nothing_is_wider_than_the_screen_and_all_can_be_read(page, address, pictures, size, dark):
    page.open(address, size, dark)
    page.choose(pictures[:5])
    page.until_answered(5)
    page.until(lambda: "answered since the start" in page.text("charts"))
    if page.find("input[value=step]").is_displayed():
        page.click("input[value=step]")
        page.until_answered(5)
    assert page.js("return document.documentElement.scrollWidth") <= size[0]
    assert page.js(CONTRASTS) == []
    small = page.js("""return [...document.querySelectorAll("button, .button, select")].filter(
        (b) => b.offsetParent && !b.closest(".thumbs") && b.getBoundingClientRect().height < 43)
        .map((b) => b.outerHTML)""")
    assert small == []


# Texts whose contrast with what is behind them is below 4.5.
CONTRASTS = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) =>
  c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce(
  (sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const bad = [];
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !one.checkVisibility() || one.closest("svg, .hidden, noscript, .skip")) continue;
  let behind = one;
  while (behind.parentElement && (rgb(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0)
    behind = behind.parentElement;
  const [a, b] = [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor]
    .map(rgb).map(light).sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(one.outerHTML);
}
return bad;
"""


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_everything_can_be_done_with_the_keyboard(page, address, size):
    page.open(address, size)
    page.js("window.opened = 0; document.getElementById('files').addEventListener('click', "
            "(event) => { event.preventDefault(); ++window.opened; })")

    def focused():
        return page.js("return document.activeElement.id || document.activeElement.value || "
                       "document.activeElement.className || document.activeElement.tagName")

    page.press(Keys.TAB)
    assert focused() == "skip"
    assert page.js("return document.activeElement.getBoundingClientRect().left") >= 0
    page.press(Keys.TAB)
    assert focused() == "files"
    assert page.js("return getComputedStyle(document.querySelector('.main-button')).outlineStyle"
                   ) == "solid"
    page.press(Keys.SPACE)
    assert page.js("return opened") == 1
    page.press(Keys.TAB)
    assert focused() == "example"
    page.press(Keys.ENTER)
    page.until_answered(1)
    stops = []
    for _ in range(40):
        page.press(Keys.TAB)
        if page.js("return document.activeElement === document.body"):
            break
        stops.append(focused())
        style = page.js("const s = getComputedStyle(document.activeElement);"
                        "return [s.outlineStyle, parseFloat(s.outlineWidth)]")
        assert style[0] != "none" and style[1] >= 1, stops
    assert {"again", "clear", "policy"} <= set(stops)
    page.js("document.querySelector('.thumbs button').focus()")
    page.press(Keys.ENTER)
    assert focused() == "card " + page.js("return colour(entries[0].answer.exit)")
    page.js("document.querySelector('input[value=policy]').focus()")
    page.press(Keys.ARROW_LEFT)  # from the first to the last
    assert focused() == "last"
    page.until(lambda: page.bins()[-1] == 1)
    page.js("document.getElementById('clear').focus()")
    page.press(Keys.ENTER)
    page.until(lambda: page.bins()[-1] == 0)
    assert focused() == "files"
    assert page.cards() == []


def test_every_control_and_chart_has_a_name(page, address, pictures):
    page.open(address)
    page.choose(pictures[:2])
    page.until_answered(2)
    nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "radio", "slider", "textbox", "img", "image", "meter", "group", "list",
             "combobox", "progressbar", "link", "heading", "region"}
    nameless = [n["role"]["value"] for n in nodes if not n.get("ignored") and
                n["role"]["value"] in roles - {"list"} and not n.get("name", {}).get("value")]
    assert nameless == []


def test_the_page_is_small_and_asks_nobody_else(page, address):
    page.open(address)
    page.click("#example")
    page.until_answered(1)
    asked = page.js("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(one.startswith((address, "blob:" + address[:-1])) for one in asked), asked
    script = urllib.request.urlopen(address + "page.js").read()
    assert len(script) < 40000


def test_scripts_and_styles_inside_the_page_are_refused(page, address):
    page.open(address)
    page.js("const one = document.createElement('script'); one.textContent = 'window.hacked = 1';"
            "document.body.append(one); document.body.insertAdjacentHTML('beforeend', "
            "'<p style=\"color: red\" id=\"styled\">x</p>')")
    assert page.js("return window.hacked") is None
    assert page.js("return getComputedStyle(document.getElementById('styled')).color"
                   ) != "rgb(255, 0, 0)"
    assert len(page.complaints()) >= 2


# ---- What the mock can be told to do -------------------------------------------------------

def test_at_most_four_requests_at_a_time_and_statistics_once_a_second(page, mock, tmp_path):
    server = mock(milliseconds=40)
    page.open(server.address)
    start = time.monotonic()
    page.drop(drawings.write(tmp_path, 60))
    page.until_answered(60)
    time.sleep(3)
    assert server.most_under_way <= 4
    polls = [at for at in server.polls if at >= start]
    assert 2 <= len(polls) <= time.monotonic() - start + 2


def test_images_fly_unless_motion_is_unwelcome(page, mock, pictures):
    server = mock()
    for calm, flown in ((True, 0), (False, 5)):
        page.open(server.address, calm=calm)
        page.js("window.seen = 0; new MutationObserver((list) => { for (const one of list) for "
                "(const node of one.addedNodes) if (node.className?.includes?.('flier')) ++seen; })"
                ".observe(document.getElementById('network'), {childList: true})")
        page.choose(pictures[:5])
        page.until_answered(5)
        assert page.js("return seen") == flown


def test_the_slider_shows_and_sends_the_step(page, mock, pictures):
    server = mock()
    page.open(server.address)
    page.choose(pictures)
    page.until_answered(10)
    assert "step" not in server.queries[-1]
    assert "90.2 % accuracy at 0.42" in page.text("step-words")
    assert "the deployed one" in page.text("step-words")
    page.js("document.getElementById('step').focus()")
    page.press(Keys.HOME)
    assert page.find("input[value=step]").is_selected()
    assert "90.6 % accuracy at 1.03" in page.text("step-words")
    assert "accuracy 90.6 %" in page.find("#step").get_attribute("aria-valuetext").replace(
        "\u00a0", " ")
    page.until(lambda: page.bins() == [0, 0, 10])
    assert server.queries[-1]["step"] == "0" and "stop" not in server.queries[-1]
    page.press(Keys.END, Keys.ARROW_LEFT)
    page.until(lambda: server.queries[-1]["step"] == "13")
    assert len(page.all("#path-chart .off")) == 1
    page.click("input[value=policy]")
    page.until(lambda: "step" not in server.queries[-1])
    assert "step 14 of 14" in page.text("step-words")


def test_without_a_path_there_is_no_slider(page, mock):
    page.open(mock(path=False).address)
    assert not page.find("input[value=step]").is_displayed()
    assert "holds no certified path" in page.text("rule-words")


def test_a_server_that_does_not_watch_is_enough(page, mock):
    page.open(mock(watch=False).address)
    page.until(lambda: "in force" in page.text("guarantee"))
    assert not page.driver.find_element("id", "watch").is_displayed()
    assert page.complaints() == []


def test_photos_are_shown_small(page, mock, tmp_path):
    noise = PIL.Image.effect_noise((1200, 900), 60)
    noise.save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "large.png").write_bytes(b"no picture" * 40000)
    page.open(mock().address)
    page.choose([str(tmp_path / "photo.jpg"), str(tmp_path / "large.png")])
    page.until(lambda: "1 image without an answer" in page.text("status"))
    assert page.js("return document.querySelector('.card .face').naturalWidth") == 256
    assert page.js("return document.querySelector('.thumbs button img').naturalHeight") == 192


def test_the_guarantee_and_the_watch_are_told_with_the_reason(page, mock):
    server = mock()
    page.open(server.address)
    page.until(lambda: "not in force" in page.text("guarantee"))
    assert server.guarantee["why"] in page.text("guarantee")
    assert "812 audits, 9 disagreements" in page.text("watch") and "holds" in page.text("watch")
    server.guarantee = dict(server.guarantee, in_force="yes", why="")
    server.watched = dict(server.watched, state="alarm", evidence=1500, why="80 of 900 disagree")
    server.drift, server.distance = "drifted", 0.21
    page.until(lambda: "80 of 900 disagree" in page.text("watch"))
    assert "alarm" in page.text("watch") and "not in force" not in page.text("guarantee")
    assert "drifted" in page.text("chart-drift") and "21.0 %" in page.text("chart-drift")
    server.guarantee = None
    page.until(lambda: "none" in page.text("guarantee"))


def test_a_busy_server_is_asked_again(page, mock, pictures):
    server = mock(busy=3)
    page.open(server.address)
    page.choose(pictures[:5])
    page.until_answered(5)
    assert len(server.queries) == 8


def test_a_token_is_asked_for_and_used(page, mock, pictures):
    server = mock(token="a-token-of-16-characters")
    page.open(server.address)
    page.until(lambda: page.shows("ask-token"))
    page.find("#token").send_keys("wrong", Keys.ENTER)
    page.until(lambda: "does not know this token" in page.text("trouble"))
    page.find("#token").send_keys(server.token, Keys.ENTER)
    page.until(lambda: not page.shows("ask-token") and "3 exits" in page.text("facts"))
    page.choose(pictures[:2])
    page.until_answered(2)
    assert page.driver.current_url == server.address


def test_a_server_that_has_gone_is_said_and_found_again(page, mock):
    server = mock()
    page.open(server.address)
    port = server.server.server_port
    server.stop()
    page.until(lambda: "does not answer" in page.text("trouble"))
    assert page.shows("trouble")
    gone = page.js("return samples.length")
    mock(port=port)
    page.until(lambda: not page.shows("trouble") and page.js("return samples.length") > gone + 2)
    points = page.find("#chart-rate path.line").get_attribute("d").split("M")[1:]
    assert len(points) == 2  # the time without an answer is a gap
    seconds = (float(points[1].split()[0]) - float(points[0].split()[0])) / 3
    assert seconds > 1.5, points


def test_another_model_can_be_chosen(page, mock):
    server = mock(models=2)
    page.open(server.address)
    assert page.shows("choose-model")
    page.find("#model").send_keys("another")
    page.until(lambda: page.text("facts").startswith("another, version 1"))
    page.click("#example")
    page.until_answered(1)
    assert server.queries[-1]["model"] == "another"


def test_a_model_that_was_loaded_again_is_read_again(page, mock):
    server = mock()
    page.open(server.address)
    page.until(lambda: "answered since the start" in page.text("charts"))
    page.click("#example")
    page.until_answered(1)
    server.path, server.costs, server.loaded = False, [0.3, 0.6, 0.9], 2
    page.until(lambda: not page.find("input[value=step]").is_displayed())
    page.until(lambda: len(server.queries) == 2)
    page.until_answered(1)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        os.environ.update(OFFRAMP=sys.argv[1], MODEL=sys.argv[2])
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", __file__]))
