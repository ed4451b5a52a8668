"""Makes the pictures of docs/serving.md, with drawings as images and a light load beside them.

    python3 tests/serve/page/screenshots.py PROGRAM MODEL docs/images
"""
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

import drawings
import page_test
from page_test import PHONE, Page, run_program


def load(address, stopped):
    pictures = [drawings.picture(seed)[1] for seed in range(200)]
    while not stopped.wait(random.expovariate(40)):
        page_test.classify(address, random.choice(pictures))


def main(program, model, folder):
    os.environ.update(OFFRAMP=program, MODEL=model)
    folder = pathlib.Path(folder)
    with tempfile.TemporaryDirectory() as temporary, run_program() as address:
        files = drawings.write(pathlib.Path(temporary), 32)
        stopped = threading.Event()
        threading.Thread(target=load, args=(address, stopped)).start()
        page = Page()
        try:
            page.open(address, (1100, 720), calm=False)
            page.choose(files)
            page.until(lambda: sum(page.bins()) >= 20)
            page.driver.save_screenshot(str(folder / "serve.png"))
            page.until_answered(32)
            if page.find("input[value=step]").is_displayed():
                page.js("const s = document.getElementById('step'); s.value = s.max * 0.7;"
                        "s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change'))")
                page.until(lambda: page.js("return round") == 1)
                page.until_answered(32)
                page.js("scrollTo({top: document.getElementById('rule-title').getBoundingClientRect"
                        "().top + scrollY - 16, behavior: 'instant'})")
                time.sleep(1)
                page.driver.save_screenshot(str(folder / "serve-path.png"))
            page.command("Emulation.setDeviceMetricsOverride", width=1100, height=950,
                         deviceScaleFactor=1, mobile=False)
            time.sleep(110)
            page.js("scrollTo({top: document.getElementById('live-title').getBoundingClientRect()"
                    ".top + scrollY - 16, behavior: 'instant'})")
            time.sleep(1)
            page.driver.save_screenshot(str(folder / "serve-live.png"))
            page.open(address, PHONE, dark=True, calm=False)
            page.choose(files[:16])
            page.until(lambda: sum(page.bins()) >= 12)
            page.driver.save_screenshot(str(folder / "serve-phone.png"))
        finally:
            stopped.set()
            page.driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
