"""z as the tokens at its places, which some defences permute or drop, and how an adversary puts them back."""

from __future__ import annotations

from math import ceil, isqrt, prod

import torch
from torch import Tensor

from splitpriv.types import Shape, UserError

ROUNDS = 20  # of Sinkhorn's normalisation before tokens are placed
RIDGE = 1e-3  # of the tokens' mean variance, added to each of their covariance's directions


class Places:
    """What z (N, *shape) holds at each of its places, as tokens (N, T, D).

    Of tokens (T, D) those that fill a square, so that a class token stays where it is; of a feature map (C, H, W) its
    patches of `patch` x `patch` positions, row by row; of a vector its entries. Raises UserError where patches do not
    fill the map, and where there are fewer than two places.
    """

    def __init__(self, shape: Shape, patch: int = 1) -> None:
        self.shape, self.patch, self.first = shape, patch, 0
        if len(shape) == 3 and (shape[1] % patch or shape[2] % patch):
            raise UserError(
                f".patch: {patch} does not divide z of {shape[1]}x{shape[2]}; give a common divisor of both"
            )
        if len(shape) == 2 and isqrt(shape[0]) ** 2 != shape[0] > 2 and isqrt(shape[0] - 1) ** 2 == shape[0] - 1:
            self.first = 1
        self.count = shape[1] * shape[2] // patch**2 if len(shape) == 3 else shape[0] - self.first
        if self.count < 2:
            raise UserError(f": z {shape} has {self.count} place, so there is nothing to choose from; cut elsewhere"
                            + (", or lower .patch" if patch > 1 else ""))  # fmt: skip
        self.width = prod(shape) // shape[0] if len(shape) == 2 else prod(shape) // self.count

    def tokens(self, z: Tensor) -> Tensor:
        """(N, *shape) -> (N, T, D)."""
        if len(self.shape) == 3:
            p = self.patch
            grid = z.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # N, C, rows, p, columns, p
            return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return z[:, self.first :] if len(self.shape) == 2 else z.unsqueeze(2)

    def back(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Tokens (N, T, D) in the form of z, (N, *shape), whose class token they get."""
        if len(self.shape) == 3:
            c, h, w = self.shape
            p = self.patch
            grid = tokens.view(len(tokens), h // p, w // p, c, p, p)
            return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), c, h, w)
        return torch.cat([z[:, : self.first], tokens], 1) if len(self.shape) == 2 else tokens.squeeze(2)

    def moved(self, z: Tensor, order: Tensor) -> Tensor:
        """z with what was at place order[:, j] at place j; `order` (N, T) or (T,)."""
        tokens = self.tokens(z)
        index = order.expand(len(z), -1).unsqueeze(2).expand_as(tokens)
        return self.back(tokens.gather(1, index), z)


def require_some(changed: int, share: float, count: int, what: str, least: int = 1) -> None:
    """Raise UserError where a share above 0 of `count` things comes to fewer than `least`, so that nothing happens."""
    if share > 0 and changed < least:
        raise UserError(f"{what} is {changed} of {count}, which changes nothing; give at least "
                        f"{ceil(1000 * least / count) / 1000:g}, or 0")  # fmt: skip


class Order:
    """Tells from tokens in an unknown order where each belongs: what permutation defences must be measured by.

    A predictor of positions and an assignment, as in DRAG's adaptive attack (Lei et al., ICML 2025).

    A linear discriminant between the places, fitted to tokens (n, T, D) in their true order, scores each token at each
    place; Sinkhorn's normalisation and a greedy choice make a permutation of that. The result is the same for all
    orders of the same tokens, right or wrong, so that an attack may compare what it restores.
    """

    def __init__(self, tokens: Tensor) -> None:
        mean = tokens.double().mean(0)
        around = (tokens.double() - mean).flatten(0, 1)
        covariance = around.T @ around / len(around)
        scale = covariance.diagonal().mean() + 1e-3 * mean.var() + torch.finfo(mean.dtype).tiny
        covariance = covariance + RIDGE * scale * torch.eye(len(covariance), dtype=mean.dtype, device=mean.device)
        weight = torch.linalg.solve(covariance, mean.T)
        self.weight, self.bias = weight.float(), (-(mean * weight.T).sum(1) / 2).float()

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """For each place the token (N, T) that belongs there, of tokens (N, T, D)."""
        return placed(tokens @ self.weight + self.bias)


def aligned(tokens: Tensor, like: Tensor) -> Tensor:
    """For each place of `like` (N, T, D) the token (N, T) of `tokens` (N, T, D) that is nearest, each used once."""
    far = tokens.square().sum(2)[:, :, None] + like.square().sum(2)[:, None] - 2 * tokens @ like.transpose(1, 2)
    far = far.clamp_min(0)
    return placed(-far / (0.1 * far.mean((1, 2), keepdim=True)).clamp_min(torch.finfo(far.dtype).tiny))


def placed(score: Tensor) -> Tensor:
    """A permutation (N, T) of a high total of score[:, i, j], token i at place j: Sinkhorn's, then a greedy choice."""
    for _ in range(ROUNDS):
        score = score - score.logsumexp(2, keepdim=True)
        score = score - score.logsumexp(1, keepdim=True)
    return matched(score)


def matched(score: Tensor) -> Tensor:
    """A permutation (N, T) that gives each place j a token i of a high score[:, i, j], the highest first."""
    score, count = score.clone(), score.shape[1]
    order = torch.zeros(score.shape[:2], dtype=torch.long, device=score.device)
    for _ in range(count):
        best = score.flatten(1).argmax(1, keepdim=True)
        token, place = best // count, best % count
        order.scatter_(1, place, token)
        score.scatter_(1, token.unsqueeze(2).expand(-1, 1, count), -torch.inf)
        score.scatter_(2, place.unsqueeze(2).expand(-1, count, 1), -torch.inf)
    return order
