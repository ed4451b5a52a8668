"""Writes the WebP and BMP files of this folder, and beside each the pixels that it must give, as PNG.

It needs Pillow with WebP (python3-pil), NumPy and ImageMagick. The pixels of lossless WebP files are
those that were encoded; the pixels of all BMP files were decoded by Pillow, whose BMP decoder is its
own; those of lossy.webp by Pillow with libwebp.
"""
import pathlib
import struct
import subprocess

import numpy
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT = 13, 9  # rows of 24 bits are padded


def picture():
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    channels = (x * 19 + y, 255 - y * 28 - x, (x * y * 7) % 256)
    return Image.fromarray(numpy.stack(channels, 2).astype("uint8"))


def with_alpha(image):
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    image = image.copy()
    image.putalpha(Image.fromarray(((x * 40 + y * 20) % 256).astype("uint8")))
    return image


def on_white(image):
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def save(name, image, expected=None, **options):
    image.save(HERE / name, **options)
    expect(name, expected)


def expect(name, expected=None):
    expected = expected or Image.open(HERE / name).convert("RGB")
    expected.save(HERE / (name + ".png"))


rgb = picture()
rgba = with_alpha(rgb)
turned = Image.Exif()
turned[0x0112] = 6

save("lossless.webp", rgb, rgb, lossless=True)
save("lossy.webp", rgb.resize((40, 30), Image.BILINEAR), quality=80)
save("alpha.webp", rgba, on_white(rgba), lossless=True, exact=True)
save("turned.webp", rgb, rgb.transpose(Image.ROTATE_270), lossless=True, exif=turned.tobytes())
save("animated.webp", rgb, rgb, lossless=True, save_all=True, append_images=[ImageOps.mirror(rgb)])

save("rgb24.bmp", rgb)
save("rgb32.bmp", rgba, rgb)
save("gray8.bmp", rgb.convert("L"))
save("palette8.bmp", rgb.quantize(11))
save("bits.bmp", rgb.convert("1"), Image.new("RGB", (1, 1)))
for name, image, options in (("v5_rgb24.bmp", rgb, []), ("v5_masks32.bmp", rgba, [])):
    image.save(HERE / "source.png")
    subprocess.run(["convert", HERE / "source.png", *options, "BMP:" + str(HERE / name)], check=True)
    (HERE / "source.png").unlink()
    expect(name, Image.open(HERE / name).convert("RGB"))

content = (HERE / "rgb24.bmp").read_bytes()
rows = [content[54 + i * 40:54 + (i + 1) * 40] for i in range(HEIGHT)]
(HERE / "top_down.bmp").write_bytes(content[:22] + struct.pack("<i", -HEIGHT) + content[26:54] +
                                    b"".join(reversed(rows)))
expect("top_down.bmp")
(HERE / "bits.bmp.png").unlink()
