#!/usr/bin/env python3
"""Takes the pictures of this folder from a report: make_images.py REPORT.html

The report is that of the model which ships, on the test images of CIFAR-10 (JPEG copy):

    offramp report models/cifar10-3-exits.safetensors --data data -o report.html

It needs Chromium and Pillow. The sections shown have no images of the data set.
"""
import pathlib
import subprocess
import sys
import tempfile

from PIL import Image, ImageChops

HERE = pathlib.Path(__file__).resolve().parent
SECTIONS = {"frontier": "cost", "leaving": "leaving", "overthinking": "overthinking"}
WIDTH, HEIGHT, MARGIN = 1000, 1600, 20


def picture(page, section, path):
    style = (f"<style>header, footer, section:not(#{section}) {{ display: none !important }} "
             f"section {{ margin-top: {MARGIN}px !important }} "
             ":root { color-scheme: light }</style></head>")
    with tempfile.TemporaryDirectory() as folder:
        alone = pathlib.Path(folder) / "section.html"
        alone.write_text(page.replace("</head>", style, 1))
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu",
                        "--hide-scrollbars", "--blink-settings=preferredColorScheme=1",
                        f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={path}",
                        alone.as_uri()], check=True, stderr=subprocess.DEVNULL)
    image = Image.open(path).convert("RGB")
    ground = Image.new("RGB", image.size, image.getpixel((0, HEIGHT - 1)))
    bottom = ImageChops.difference(image, ground).getbbox()[3]
    image.crop((0, 0, WIDTH, min(HEIGHT, bottom + MARGIN))).save(path, optimize=True)


def main():
    page = pathlib.Path(sys.argv[1]).read_text()
    for name, section in SECTIONS.items():
        if f'id="{section}"' not in page:
            sys.exit(f"{sys.argv[1]}: no section {section}")
        picture(page, section, HERE / f"{name}.png")


if __name__ == "__main__":
    main()
