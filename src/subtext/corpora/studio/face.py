"""Drawn faces: a shaded head with brows, lids and a mouth that move.

A head is drawn on a canvas of its own, `CANVAS` pixels, and then turned, moved and scaled into the picture. What does
not move (skin, hair, nose, ears, beard) is drawn once a clip; eyes, brows, mouth and glasses once a frame.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from subtext.corpora.studio.speakers import Colour, Look

Image = npt.NDArray[np.uint8]
Curve = npt.NDArray[np.float64]

CANVAS: Final = (256, 336)
"""Width and height of the canvas, px."""
CENTRE: Final = (128.0, 176.0)
"""Middle of the head on the canvas: what the head turns about."""

_SHIFT: Final = 4
_EYE_Y: Final = 162.0
_EYE_X: Final = 35.0
_BROW_Y: Final = 139.0
_NOSE_Y: Final = 206.0
_MOUTH_Y: Final = 241.0
_CHIN_Y: Final = 290.0
_CROWN_Y: Final = 62.0


@dataclass(frozen=True)
class Expression:
    """What the face does in one frame. 0 is rest; 1 is a full movement.

    Attributes:
        smile: corners of the mouth; below 0 they go down.
        stretch: width of the mouth; below 0 it is pursed.
        jaw: opening of the mouth, 0-1.
        teeth: how far parted lips show the teeth, 0-1.
        brow_raise: both brows; below 0 they are lowered.
        brow_inner: inner ends of the brows; below 0 they are drawn down, as in anger.
        lids: opening of the eyes; 1 is usual, 0 is shut.
        cheeks: lower lids pushed up and folds beside the nose, as in a real smile, 0-1.
        gaze: where the eyes look, each in -1 to 1.
    """

    smile: float = 0.0
    stretch: float = 0.0
    jaw: float = 0.0
    teeth: float = 0.0
    brow_raise: float = 0.0
    brow_inner: float = 0.0
    lids: float = 1.0
    cheeks: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)


class Head:
    """One person's head under one light.

    Attributes:
        look: the person.
        alpha: uint8 `[336, 256]`, 255 where the head is.

    Args:
        look: the person.
        light: direction of the light, `(x, y)` each in -1 to 1; 0 is from the front.
        rng: freckles and strands of hair.
    """

    def __init__(self, look: Look, light: tuple[float, float], rng: np.random.Generator) -> None:
        self.look = look
        self._dark = _mix(look.skin, (40, 16, 12), 0.55)
        self._fold = _mix(look.skin, (60, 25, 18), 0.30)
        self._lip = _mix(_mix(look.skin, (70, 20, 20), 0.22), (176, 62, 66), 0.25 + 0.35 * look.lip_redness)
        # Brows are darker than the hair, and always darker than the skin.
        self._brow = _mix(_darker(look.hair, look.skin), (30, 22, 18), 0.45)
        grid_y, grid_x = np.mgrid[0 : CANVAS[1], 0 : CANVAS[0]].astype(np.float32)
        self._x, self._y = grid_x, grid_y
        self._rest, self.alpha = self._draw_rest(light, rng)

    def draw(self, expression: Expression) -> Image:
        """The head with an expression, uint8 RGB `[336, 256, 3]`; `alpha` says where it covers what is behind."""
        image = self._rest.copy()
        if expression.cheeks > 0.05:
            self._draw_folds(image, expression)
        self._draw_mouth(image, expression)
        for side in (-1, 1):
            self._draw_eye(image, side, expression)
            self._draw_brow(image, side, expression)
        if self.look.glasses != "none":
            self._draw_glasses(image)
        return image

    # What does not move ------------------------------------------------------------------------------------------

    def _outline(self, grow: float = 0.0) -> Curve:
        """The head's outline without hair and ears, `[points, 2]`."""
        look = self.look
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        half = 80 * look.face_width + grow
        cos, sin = np.cos(angle), np.sin(angle)
        middle = 160.0
        below = sin > 0
        # A square jaw stays wide for longer on the way down to the chin.
        power = np.where(below, 0.92 - 0.28 * look.jaw, 1.0)
        x = np.sign(cos) * np.abs(cos) ** power * half
        x = x * np.where(below, 1 - (0.16 - 0.08 * look.jaw) * sin, 1.0)
        down = (_CHIN_Y - middle) * look.face_height + grow
        up = (middle - _CROWN_Y) + grow
        y = np.where(below, sin * down, sin * up)
        return np.stack([CENTRE[0] + x, middle + y], axis=1)

    def _blob(self, x: float, y: float, width: float, height: float) -> npt.NDArray[np.float32]:
        return np.exp(-(((self._x - x) / width) ** 2) - ((self._y - y) / height) ** 2)

    def _shading(self, light: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Brightness of the skin, `[height, width]`: a lit ellipsoid with the hollows and ridges of a face."""
        look = self.look
        nx = (self._x - CENTRE[0]) / (96 * look.face_width)
        ny = (self._y - 172) / 138
        nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.02, 1))
        lit = np.clip(nz + 0.30 * light[0] * nx + (0.22 * light[1] - 0.20) * ny, 0, 1.3)
        shade = 0.42 + 0.62 * lit
        eye_y, eye_x = _EYE_Y + 3 * look.eye_height, _EYE_X * look.eye_distance
        for side in (-1, 1):
            x = CENTRE[0] + side * eye_x
            shade -= 0.25 * self._blob(x, eye_y - 5, 27, 15)
            shade -= 0.16 * self._blob(CENTRE[0] + side * 17, eye_y - 4, 9, 14)
            shade += 0.09 * self._blob(x + side * 4, eye_y + 34, 22, 16)
            shade -= 0.10 * self._blob(CENTRE[0] + side * 13 * look.nose_width, _NOSE_Y - 16, 6, 26)
            shade -= 0.10 * look.wrinkles * self._blob(x, eye_y + 16, 18, 4)
        nose = _EYE_Y + (_NOSE_Y - _EYE_Y) * look.nose_length
        shade += 0.13 * self._blob(CENTRE[0], eye_y + 4, 8, 34)
        shade += 0.12 * self._blob(CENTRE[0], nose - 6, 9, 9)
        shade -= 0.22 * self._blob(CENTRE[0], nose + 11, 17 * look.nose_width, 5)
        shade -= 0.12 * self._blob(CENTRE[0], _MOUTH_Y + 19 + 3 * look.mouth_height, 22, 6)
        shade += 0.06 * self._blob(CENTRE[0], _CHIN_Y - 22, 18, 12)
        shade += 0.07 * self._blob(CENTRE[0], 112, 46, 24)
        return shade.astype(np.float32)

    def _gloss(self) -> npt.NDArray[np.float32]:
        """Where the skin shines, whatever its colour, `[height, width]` in 0-1."""
        look = self.look
        gloss = 0.55 * self._blob(CENTRE[0], 116, 40, 16) + 0.8 * self._blob(CENTRE[0], _EYE_Y + 14, 6, 30)
        for side in (-1, 1):
            gloss += 0.7 * self._blob(CENTRE[0] + side * (_EYE_X * look.eye_distance + 6), _EYE_Y + 36, 19, 14)
        return (gloss + 0.4 * self._blob(CENTRE[0], _CHIN_Y - 22, 14, 9)).astype(np.float32)

    def _draw_rest(self, light: tuple[float, float], rng: np.random.Generator) -> tuple[Image, Image]:
        look = self.look
        shade = self._shading(light)
        size = (CANVAS[1], CANVAS[0])
        head = _filled(size, self._outline())
        hair_back, hair_front = self._hair_masks()
        ears = np.zeros(size, np.uint8)
        for side in (-1, 1):
            centre = (CENTRE[0] + side * 81 * look.face_width, _EYE_Y + 16)
            _ellipse(ears, centre, (11, 22), side * 8, 255)
        skin = shade[..., None] * np.array(look.skin, np.float32)
        # Blood under the skin: cheeks and nose are redder, hollows are less grey.
        skin[..., 1:] *= (1 - 0.05 * (self._blob(88, 205, 26, 22) + self._blob(168, 205, 26, 22)))[..., None]
        skin += 30 * self._gloss()[..., None]
        if look.freckles:
            self._add_freckles(skin, rng)
        if look.beard in ("stubble", "full"):
            self._add_beard(skin, shade)
        strands = self._strands(rng) * np.clip(shade + 0.12, 0.5, 1.1)
        hair = strands[..., None] * np.array(look.hair, np.float32)
        image = np.zeros((*size, 3), np.float32)
        for mask, layer in ((hair_back, 0.72 * hair), (ears, 0.80 * skin), (head, skin), (hair_front, hair)):
            share = mask[..., None].astype(np.float32) / 255
            image += share * (layer - image)
        rest = np.clip(image, 0, 255).astype(np.uint8)
        self._draw_nose(rest)
        if look.wrinkles > 0.35 and look.hair_style != "side":
            for row in range(2):
                bend = np.linspace(-1, 1, 9)
                line = np.stack([CENTRE[0] + 34 * bend, 112 - 9 * row + 3 * bend**2], axis=1)
                _stroke(rest, line, self._fold, 1)
        alpha = np.maximum.reduce([hair_back, ears, head, hair_front])
        return rest, cv2.GaussianBlur(alpha, (0, 0), 0.8).astype(np.uint8)

    def _strands(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        rough = rng.normal(0, 1, (CANVAS[1] // 8, CANVAS[0])).astype(np.float32)
        strands = cv2.resize(cv2.GaussianBlur(rough, (0, 0), 1.0), CANVAS, interpolation=cv2.INTER_LINEAR)
        shine = 0.20 * self._blob(112, 78, 60, 14)
        return (1.0 + 0.28 * strands + shine).astype(np.float32)

    def _hair_masks(self) -> tuple[Image, Image]:
        """Hair behind the head and hair before it, each uint8 `[height, width]`."""
        look = self.look
        size = (CANVAS[1], CANVAS[0])
        back, front = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        cx, width = CENTRE[0], look.face_width
        cap = self._outline(grow=11)
        style = look.hair_style
        if style in ("long", "bob"):
            bottom = 318.0 if style == "long" else 246.0
            _ellipse(back, (cx, 150), (103 * width, 104), 0, 255)
            _fill(
                back,
                np.array(
                    [
                        [cx - 103 * width, 150],
                        [cx - 96 * width, bottom],
                        [cx + 96 * width, bottom],
                        [cx + 103 * width, 150],
                    ]
                ),
            )
        elif style == "curly":
            for angle in np.linspace(np.pi * 0.86, np.pi * 2.14, 12):
                _ellipse(back, (cx + 84 * width * np.cos(angle), 138 + 80 * np.sin(angle)), (27, 27), 0, 255)
        elif style == "bun":
            _ellipse(back, (cx, 42), (34, 30), 0, 255)
        hairline = {"receding": 84.0, "curly": 108.0, "short": 106.0, "side": 108.0, "bun": 98.0}.get(style, 104.0)
        mask = _filled(size, cap)
        # The hair ends in a curve across the forehead and comes down at the temples.
        across = (self._x - cx) / (80 * width)
        edge = hairline + (26 if style != "receding" else 52) * across**4 + 6 * across**2
        if style == "side":
            edge = hairline - 16 + 26 * np.clip(0.5 - across, 0, 1.4) ** 1.5 + 30 * np.clip(np.abs(across) - 0.75, 0, 1)
        if style == "receding":
            edge = edge - 14 * np.exp(-((across / 0.35) ** 2)) + 8
        ends = 176.0 if style in ("short", "side", "receding") else 190.0
        soft = np.clip((edge - self._y) / 2 + 0.5, 0, 1) * np.clip((ends - self._y) / 6 + 0.5, 0, 1)
        front = (mask * soft).astype(np.uint8)
        # Sideburns: the rim between the outline and the cap.
        rim = cv2.subtract(mask, _filled(size, self._outline(grow=-5)))
        front = np.maximum(front, (rim * np.clip((ends - self._y) / 10, 0, 1)).astype(np.uint8))
        return back, front

    def _add_freckles(self, skin: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
        for _ in range(60):
            x, y = CENTRE[0] + rng.normal(0, 34), 196 + rng.normal(0, 12)
            skin *= (1 - 0.14 * self._blob(x, y, 1.6, 1.6))[..., None]

    def _add_beard(self, skin: npt.NDArray[np.float32], shade: npt.NDArray[np.float32]) -> None:
        depth = 0.30 if self.look.beard == "stubble" else 0.60
        across = np.abs(self._x - CENTRE[0]) / (80 * self.look.face_width)
        cover = np.clip((self._y - (226 - 34 * np.clip(across - 0.45, 0, 1))) / 12, 0, 1)
        around_mouth = self._blob(CENTRE[0], _MOUTH_Y + 3 * self.look.mouth_height, 40, 20)
        cover = cover * np.clip(1.15 - 0.55 * around_mouth, 0, 1)
        share = (depth * cover)[..., None]
        colour = np.array(_mix(self.look.hair, (40, 34, 30), 0.25), np.float32) * np.clip(shade, 0.4, 1)[..., None]
        skin += share * (colour - skin)

    def _draw_nose(self, image: Image) -> None:
        look = self.look
        tip = _EYE_Y + (_NOSE_Y - _EYE_Y) * look.nose_length
        for side in (-1, 1):
            x = CENTRE[0] + side * 8 * look.nose_width
            _ellipse(image, (x, tip + 6), (4.5 * look.nose_width, 2.4), side * 12, self._dark)
            wing = np.array([[x + side * 7, tip - 5], [x + side * 9.5, tip + 1], [x + side * 7, tip + 6]])
            _stroke(image, wing, self._fold, 2)

    # What moves --------------------------------------------------------------------------------------------------

    def _draw_folds(self, image: Image, expression: Expression) -> None:
        depth = min(expression.cheeks, 1.0)
        colour = _mix(self.look.skin, self._fold, 0.5 + 0.5 * depth)
        for side in (-1, 1):
            x = CENTRE[0] + side * 20 * self.look.nose_width
            fold = np.array([[x, 210], [x + side * 13, 220], [x + side * (18 + 3 * depth), 236]])
            _stroke(image, _smooth(fold), colour, 2)
            eye = CENTRE[0] + side * (_EYE_X * self.look.eye_distance + 27)
            for row in (-1, 1):
                foot = np.array([[eye, _EYE_Y + 3 * row], [eye + side * 9 * depth, _EYE_Y + 7 * row]])
                _stroke(image, foot, colour, 1)

    def _draw_mouth(self, image: Image, expression: Expression) -> None:
        look = self.look
        smile = expression.smile + look.rest_mouth
        middle = _MOUTH_Y + 3 * look.mouth_height - 1.5 * max(smile, 0)
        half = 35 * look.mouth_width * (1 + 0.20 * expression.stretch)
        lift = 17.0 * smile
        along = np.linspace(-1, 1, 25)
        bow = 1 - along**2
        line = middle + 0.40 * lift - 1.30 * lift * along**2
        parted = 15 * expression.jaw + 11 * expression.teeth
        # The lower jaw carries most of the opening.
        top, bottom = line - 0.22 * parted * bow, line + 0.78 * parted * bow
        thick = 8.5 * look.lip_thickness * (1 - 0.25 * max(smile, 0)) * (1 - 0.2 * max(-smile, 0))
        dip = 1 - 0.28 * np.exp(-((along / 0.16) ** 2))
        upper = top - 0.80 * thick * np.clip(bow, 0, 1) ** 0.7 * dip
        lower = bottom + 1.15 * thick * np.clip(bow, 0, 1) ** 0.6
        x = CENTRE[0] + half * along
        if look.beard in ("moustache", "full"):
            moustache = np.concatenate(
                [np.stack([x * 1.0, upper - 1 + 1.5 * bow], 1), np.stack([x, upper - 2 - 9 * bow**0.5], 1)[::-1]]
            )
            _fill(image, moustache, _mix(look.hair, (40, 34, 30), 0.25))
        _fill(image, _band(x, upper, line if parted < 1 else top), _mix(self._lip, (60, 16, 20), 0.22))
        _fill(image, _band(x, line if parted < 1 else bottom, lower), self._lip)
        if parted >= 1:
            _fill(image, _band(x, top, bottom), (58, 20, 22))
            shown = np.minimum(bottom, top + min(0.55 * parted, 3 + 5 * expression.teeth) * bow**0.5)
            if parted > 2.5:
                _fill(image, _band(x[2:-2], top[2:-2], np.maximum(shown[2:-2], top[2:-2])), (232, 228, 220))
        else:
            _stroke(image, np.stack([x, line], 1), self._dark, 2)
        for side in (0, -1):
            _ellipse(image, (x[side], line[side]), (2.4, 2.0), 0, self._dark)

    def _draw_eye(self, image: Image, side: int, expression: Expression) -> None:
        look = self.look
        x0 = CENTRE[0] + side * _EYE_X * look.eye_distance
        y0 = _EYE_Y + 3 * look.eye_height
        half = 19.0 * look.eye_size
        opening = max(expression.lids, 0.0) * look.rest_lid
        along = np.linspace(-1, 1, 17)
        bow = (1 - along**2) ** 0.75
        x = x0 + side * half * along
        # The outer corner is a little higher than the inner one.
        corner = y0 + 1.0 - 1.2 * along
        upper = corner - 10.0 * look.eye_size * opening * bow
        lower = corner + 6.0 * look.eye_size * min(opening, 1.0) * bow * (1 - 0.75 * min(expression.cheeks, 1.0))
        left, top = int(x0 - half - 3), int(upper.min() - 3)
        right, bottom = int(x0 + half + 4), int(lower.max() + 4)
        patch = np.empty((bottom - top, right - left, 3), np.uint8)
        patch[:] = (214, 208, 202)
        gaze_x, gaze_y = expression.gaze
        iris = (x0 - left + 4 * gaze_x, y0 - 1 - top + 2 * gaze_y)
        radius = 8.4 * look.eye_size
        _ellipse(patch, iris, (radius, radius), 0, _mix(look.iris, (16, 14, 14), 0.35))
        _ellipse(patch, iris, (0.78 * radius, 0.78 * radius), 0, look.iris)
        _ellipse(patch, iris, (0.45 * radius, 0.45 * radius), 0, (14, 12, 12))
        _ellipse(patch, (iris[0] - 2.4, iris[1] - 2.6), (1.5, 1.5), 0, (250, 250, 250))
        mask = _filled(patch.shape[:2], _band(x - left, upper - top, lower - top))[..., None].astype(np.uint16)
        region = image[top:bottom, left:right]
        region[:] = ((patch * mask + region * (255 - mask)) // 255).astype(np.uint8)
        _stroke(image, np.stack([x, upper], 1), _mix(self._dark, (20, 12, 12), 0.6), 3)
        _stroke(image, np.stack([x, lower], 1), self._fold, 1)
        if opening > 0.3:
            _stroke(image, np.stack([x, upper - 5 - 2 * bow], 1)[2:-2], self._fold, 1)

    def _draw_brow(self, image: Image, side: int, expression: Expression) -> None:
        look = self.look
        inner = expression.brow_inner + look.rest_brow
        y0 = _BROW_Y + 3 * look.eye_height - 2.5 * look.brow_height - 9 * expression.brow_raise
        along = np.linspace(0, 1, 13)
        x = CENTRE[0] + side * (15 + (44 * look.eye_distance) * along - 2.0 * max(-inner, 0) * (1 - along))
        arch = -5.0 * np.sin(np.pi * np.clip(along * 0.9 + 0.08, 0, 1)) * (1 - 0.5 * abs(min(inner, 0)))
        tilt = -13.0 * inner * (1 - along) ** 1.3 + 6.0 * inner * along**1.5
        y = y0 + 4 * along + arch + tilt
        thick = 5.2 * look.brow_thickness * (1 - 0.65 * along**1.6)
        _fill(image, _band(x, y - thick, y + thick), self._brow)

    def _draw_glasses(self, image: Image) -> None:
        look = self.look
        y0 = _EYE_Y + 3 * look.eye_height + 2
        frame = _mix(self._dark, (52, 46, 44), 0.7)
        reach = _EYE_X * look.eye_distance
        for side in (-1, 1):
            x0 = CENTRE[0] + side * reach
            angle = np.linspace(0, 2 * np.pi, 40)
            power = 1.0 if look.glasses == "round" else 0.55
            x = x0 + 27 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
            y = y0 + 21 * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
            _stroke(image, np.stack([x, y], 1), frame, 2)
            arm = np.array([[x0 + side * 27, y0 - 4], [CENTRE[0] + side * 80 * look.face_width, y0 - 2]])
            _stroke(image, arm, frame, 2)
        bridge = np.array([[CENTRE[0] - reach + 27, y0 - 3], [CENTRE[0], y0 - 6], [CENTRE[0] + reach - 27, y0 - 3]])
        _stroke(image, bridge, frame, 2)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _darker(first: Colour, second: Colour) -> Colour:
    """The first colour, no brighter in any channel than three fifths of the second."""
    red, green, blue = (min(a, round(0.6 * b)) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _fixed(points: Curve) -> npt.NDArray[np.int32]:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _fill(image: Image, points: Curve, colour: Colour | int = 255) -> None:
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def _filled(size: tuple[int, ...], points: Curve) -> Image:
    mask = np.zeros(size, np.uint8)
    _fill(mask, points)
    return mask


def _stroke(image: Image, points: Curve, colour: Colour, thickness: int) -> None:
    cv2.polylines(image, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _ellipse(
    image: Image, centre: tuple[float, float], axes: tuple[float, float], degrees: float, colour: Colour | int
) -> None:
    unit = 1 << _SHIFT
    at = (round(centre[0] * unit), round(centre[1] * unit))
    cv2.ellipse(
        image, at, (round(axes[0] * unit), round(axes[1] * unit)), degrees, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT
    )


def _band(x: Curve, upper: Curve, lower: Curve) -> Curve:
    """The closed outline between two curves over the same places."""
    return np.concatenate([np.stack([x, upper], axis=1), np.stack([x, lower], axis=1)[::-1]])


def _smooth(points: Curve) -> Curve:
    """Nine points along the parabola through three."""
    t = np.linspace(0, 1, 9)[:, None]
    control = 2 * points[1] - 0.5 * (points[0] + points[2])
    return (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * control + t**2 * points[2]
