"""Small pictures to classify, drawn here so that they belong to nobody."""
import colorsys
import io
import random

from PIL import Image, ImageDraw, ImageFilter

SIDE = 256


def colour(rng, hue, saturation, value):
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(
        (hue + rng.uniform(-0.04, 0.04)) % 1, min(1, saturation * rng.uniform(0.8, 1.2)),
        min(1, value * rng.uniform(0.85, 1.15))))


def ground(draw, rng, upper, lower, horizon):
    for y in range(SIDE):
        top, bottom = (upper, lower) if y < horizon else (lower, lower)
        mix = min(1, y / horizon) * 0.4
        draw.line([(0, y), (SIDE, y)], fill=tuple(
            round(a + (b - a) * mix) if y < horizon else round(b * (1 - 0.3 * (y - horizon) / SIDE))
            for a, b in zip(top, bottom)))


def ship(draw, rng):
    ground(draw, rng, colour(rng, 0.56, 0.4, 0.95), colour(rng, 0.58, 0.7, 0.5), 170)
    draw.polygon([(40, 150), (216, 150), (190, 200), (66, 200)], fill=colour(rng, 0.0, 0.7, 0.6))
    draw.rectangle([90, 116, 180, 150], fill=(240, 240, 235))
    draw.rectangle([130, 70, 156, 118], fill=colour(rng, 0.08, 0.8, 0.8))


def airplane(draw, rng):
    ground(draw, rng, colour(rng, 0.58, 0.5, 0.95), colour(rng, 0.56, 0.2, 0.98), 250)
    body = (225, 228, 232)
    draw.polygon([(20, 120), (46, 70), (70, 72), (74, 116)], fill=(190, 196, 206))
    draw.ellipse([24, 108, 236, 150], fill=body)
    draw.polygon([(110, 132), (160, 132), (112, 210), (84, 210)], fill=(165, 172, 184))
    draw.polygon([(120, 118), (160, 118), (132, 72), (112, 72)], fill=(200, 205, 214))
    draw.ellipse([200, 116, 222, 128], fill=(70, 90, 120))


def car(draw, rng, is_truck=False):
    ground(draw, rng, colour(rng, 0.57, 0.25, 0.9), (110, 110, 108), 160)
    paint = colour(rng, rng.choice([0.0, 0.6, 0.13, 0.38]), 0.85, 0.8)
    if is_truck:
        draw.rectangle([20, 70, 168, 186], fill=(232, 232, 228))
        draw.polygon([(172, 186), (172, 104), (214, 104), (240, 146), (240, 186)], fill=paint)
        draw.polygon([(184, 114), (210, 114), (226, 144), (184, 144)], fill=(150, 190, 215))
        wheels = [(34, 166), (92, 166), (186, 166)]
    else:
        draw.polygon([(66, 140), (96, 96), (170, 96), (202, 140)], fill=paint)
        draw.polygon([(82, 138), (102, 106), (130, 106), (130, 138)], fill=(170, 205, 225))
        draw.polygon([(138, 138), (138, 106), (164, 106), (186, 138)], fill=(170, 205, 225))
        draw.rounded_rectangle([24, 136, 234, 188], 18, fill=paint)
        wheels = [(48, 164), (166, 164)]
    for x, y in wheels:
        draw.ellipse([x, y, x + 46, y + 46], fill=(25, 25, 28))
        draw.ellipse([x + 14, y + 14, x + 32, y + 32], fill=(170, 170, 175))


def truck(draw, rng):
    car(draw, rng, True)


def cat(draw, rng):
    ground(draw, rng, colour(rng, 0.1, 0.2, 0.75), colour(rng, 0.08, 0.35, 0.6), 200)
    fur = colour(rng, 0.08, 0.6, 0.75)
    draw.polygon([(58, 110), (64, 30), (120, 76)], fill=fur)
    draw.polygon([(198, 110), (192, 30), (136, 76)], fill=fur)
    draw.ellipse([48, 58, 208, 206], fill=fur)
    draw.ellipse([90, 140, 166, 200], fill=(238, 226, 208))
    for x in (82, 142):
        draw.ellipse([x, 104, x + 34, 136], fill=(150, 190, 70))
        draw.ellipse([x + 12, 104, x + 22, 136], fill=(15, 15, 15))
    draw.polygon([(118, 150), (138, 150), (128, 164)], fill=(200, 110, 110))


def frog(draw, rng):
    ground(draw, rng, colour(rng, 0.25, 0.5, 0.4), colour(rng, 0.12, 0.5, 0.4), 190)
    skin = colour(rng, 0.29, 0.75, 0.65)
    draw.ellipse([40, 90, 216, 210], fill=skin)
    for x in (60, 140):
        draw.ellipse([x, 56, x + 56, 112], fill=skin)
        draw.ellipse([x + 12, 68, x + 44, 100], fill=(240, 220, 90))
        draw.ellipse([x + 22, 76, x + 36, 92], fill=(10, 10, 10))
    draw.arc([80, 110, 176, 180], 20, 160, fill=(40, 80, 30), width=7)


def bird(draw, rng):
    ground(draw, rng, colour(rng, 0.3, 0.35, 0.75), colour(rng, 0.3, 0.5, 0.5), 220)
    plumage = colour(rng, rng.choice([0.6, 0.02, 0.12]), 0.75, 0.75)
    draw.polygon([(30, 190), (90, 130), (120, 170)], fill=plumage)
    draw.ellipse([70, 96, 190, 190], fill=plumage)
    draw.ellipse([144, 58, 212, 126], fill=plumage)
    draw.polygon([(206, 84), (244, 96), (206, 106)], fill=(235, 160, 40))
    draw.ellipse([180, 78, 194, 92], fill=(10, 10, 10))
    draw.line([(120, 186), (116, 230)], fill=(90, 60, 30), width=7)
    draw.line([(146, 186), (148, 230)], fill=(90, 60, 30), width=7)


def horse(draw, rng):
    ground(draw, rng, colour(rng, 0.56, 0.35, 0.9), colour(rng, 0.27, 0.6, 0.5), 150)
    coat = colour(rng, 0.06, 0.65, 0.45)
    draw.ellipse([56, 100, 184, 164], fill=coat)
    draw.polygon([(152, 116), (186, 52), (214, 68), (186, 140)], fill=coat)
    draw.polygon([(184, 50), (236, 84), (226, 100), (190, 84)], fill=coat)
    for x in (68, 92, 146, 168):
        draw.rectangle([x, 150, x + 13, 222], fill=coat)
    draw.polygon([(58, 112), (34, 180), (50, 184), (70, 130)], fill=(40, 28, 20))


KINDS = [ship, airplane, car, truck, cat, frog, bird, horse]


def picture(seed, side=32):
    """A picture as (file name, PNG bytes); the same seed gives the same one."""
    rng = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    image = Image.new("RGB", (SIDE, SIDE))
    kind(ImageDraw.Draw(image), rng)
    if rng.random() < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-8, 8), resample=Image.BICUBIC).crop((20, 20, 236, 236))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3))).resize((side, side),
                                                                              Image.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"{kind.__name__}-{seed}.png", buffer.getvalue()


def write(folder, number, side=32):
    """Writes pictures into a folder; returns their paths as texts."""
    paths = []
    for seed in range(number):
        name, data = picture(seed, side)
        (folder / name).write_bytes(data)
        paths.append(str(folder / name))
    return paths
