import hashlib
import sys
from pathlib import Path

import pytest
import torch

from splitpriv.data import fashion_tint
from splitpriv.data.fashion_tint import ASSETS, TINTS, FashionTint
from splitpriv.types import UserError


@pytest.fixture(scope="module")
def data():
    return FashionTint(crop=2, flip=True, rotation=0.0, test_share=0.2, seed=0)


@pytest.fixture(scope="module")
def pools(data):
    return data.pools(Path("nowhere"))


def both(pools, field):
    return torch.cat([field(pools["train"]), field(pools["test"])])


def test_pools_are_a_seeded_split_with_unique_ids(data, pools):
    assert [len(pools["train"]), len(pools["test"])] == [8000, 2000]
    assert torch.equal(both(pools, lambda p: p.ids), torch.arange(10_000))
    assert torch.equal(data.pools(Path("nowhere"))["test"].images, pools["test"].images)
    other = FashionTint(crop=2, flip=True, rotation=0.0, test_share=0.2, seed=1).pools(Path("nowhere"))
    assert not torch.equal(other["test"].y, pools["test"].y)


def test_statistics_of_the_spec(data, pools):
    x = both(pools, lambda p: p.images)
    assert x.dtype == torch.uint8
    assert tuple(x.shape[1:]) == data.spec.image
    x = x.float() / 255
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.tensor(data.spec.mean), atol=2e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.tensor(data.spec.std), atol=2e-4, rtol=0)


def test_tint_is_independent_of_the_class(data, pools):
    tint, y = both(pools, lambda p: p.attributes["tint"]), both(pools, lambda p: p.y)
    table = (y * len(TINTS) + tint).bincount(minlength=80).reshape(10, 8).double()
    expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table.sum()
    chi2 = ((table - expected) ** 2 / expected).sum()
    assert chi2 < 92.0  # 99 % quantile at 63 degrees of freedom
    assert data.spec.attributes == {"tint": 8}


def test_an_image_has_the_hue_of_its_tint_and_a_dark_background(pools):
    split = pools["test"]
    rgb = torch.tensor(list(TINTS.values()), dtype=torch.float32)
    total = split.images.flatten(2).float().sum(2)  # (N, 3)
    cosine = torch.nn.functional.normalize(total, dim=1) @ torch.nn.functional.normalize(rgb, dim=1).T
    assert torch.equal(cosine.argmax(1), split.attributes["tint"])
    border = split.images.clone()
    border[:, :, 2:-2, 2:-2] = 0
    assert border.sum() == 0
    apart = torch.cdist(rgb, rgb) + 1e3 * torch.eye(8)
    assert apart.min() > 80


def test_shipped_files_are_small_licensed_and_made_by_the_script(tmp_path, monkeypatch):
    assert sum(p.stat().st_size for p in ASSETS.iterdir()) <= 5_000_000
    assert "Zalando SE" in (ASSETS / "LICENSE").read_text()
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import prepare_fashion_tint

    monkeypatch.setattr(prepare_fashion_tint.gzip, "compress", lambda raw, level, mtime: raw)  # only slow here
    prepare_fashion_tint.main(ASSETS, tmp_path)
    for name, digest in prepare_fashion_tint.SHA256.items():
        assert hashlib.sha256((tmp_path / f"{name}.gz").read_bytes()).hexdigest() == digest
    assert (tmp_path / "LICENSE").read_text() == (ASSETS / "LICENSE").read_text()
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"other")
    with pytest.raises(SystemExit, match="not the published file"):
        prepare_fashion_tint.main(tmp_path, tmp_path / "out")
    del sys.modules["prepare_fashion_tint"]


def test_a_damaged_package_says_reinstall(data, tmp_path, monkeypatch):
    (tmp_path / fashion_tint.IMAGES).write_bytes((ASSETS / fashion_tint.IMAGES).read_bytes()[:5000])
    monkeypatch.setattr(fashion_tint, "ASSETS", tmp_path)
    with pytest.raises(UserError, match="reinstall splitpriv"):
        data.pools(tmp_path)
