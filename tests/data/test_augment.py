import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv.data.augment import augment, rotate, shift


@pytest.fixture
def x():
    return torch.rand(6, 3, 5, 7, generator=torch.Generator().manual_seed(0))


def test_crop_and_flip_equal_a_loop(x):
    pad = 2
    draw = torch.Generator().manual_seed(1)
    dy, dx = torch.randint(0, 2 * pad + 1, (2, 6), generator=draw)
    mirror = torch.tensor([True, False, True, False, True, False])
    expected = torch.zeros_like(x)
    for i in range(6):
        for r in range(5):
            for c in range(7):
                row = r + int(dy[i]) - pad
                column = (6 - c if mirror[i] else c) + int(dx[i]) - pad
                if 0 <= row < 5 and 0 <= column < 7:
                    expected[i, :, r, c] = x[i, :, row, column]
    assert torch.equal(shift(x, dy, dx, mirror, pad), expected)


def test_flip_alone_mirrors_half_and_moves_nothing(x):
    many = x[:1].expand(2000, -1, -1, -1)
    out = augment(many, crop=0, flip=True, rotation=0.0)
    same, mirrored = ((out == other).flatten(1).all(1) for other in (many, many.flip(3)))
    assert (same ^ mirrored).all()
    assert 0.45 < mirrored.double().mean() < 0.55


def test_crop_alone_reaches_every_offset():
    many = torch.zeros(4000, 1, 5, 5)
    many[:, :, 2, 2] = 1
    out = augment(many, crop=1, flip=False, rotation=0.0)
    counts = out.sum(0)[0]
    assert counts.sum() == 4000
    assert counts[1:4, 1:4].min() > 350


def test_draws_come_from_the_global_generator(x):
    torch.manual_seed(3)
    a = augment(x, crop=2, flip=True, rotation=15.0)
    b = augment(x, crop=2, flip=True, rotation=15.0)
    torch.manual_seed(3)
    assert torch.equal(a, augment(x, crop=2, flip=True, rotation=15.0))
    assert not torch.equal(a, b)


def test_nothing_asked_is_nothing_done_and_draws_nothing(x):
    state = torch.get_rng_state()
    assert augment(x, crop=0, flip=False, rotation=0.0) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_rotation(x):
    torch.testing.assert_close(rotate(x, torch.zeros(6)), x)
    square = x[..., :5]
    torch.testing.assert_close(rotate(square, torch.full((6,), 90.0)), square.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(rotate(x, torch.full((6,), 180.0)), x.flip(2, 3), atol=1e-5, rtol=0)
    wide = torch.zeros(1, 1, 9, 31)  # a turn by 90 degrees stays rigid where the image is not square
    wide[0, 0, 4, 18] = 1
    assert rotate(wide, torch.tensor([90.0]))[0, 0, 1, 15] == pytest.approx(1, abs=1e-4)
    assert rotate(torch.ones(1, 1, 8, 8), torch.tensor([45.0]))[0, 0, 0, 0] == 0
    turned = augment(square, crop=0, flip=False, rotation=15.0)
    assert (turned - square).flatten(1).abs().amax(1).min() > 0


def test_no_read_back_to_the_host():
    with FakeTensorMode():
        out = augment(torch.rand(4, 3, 8, 8), crop=2, flip=True, rotation=15.0)
    assert out.shape == (4, 3, 8, 8)
