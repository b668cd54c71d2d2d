"""Simulators whose posteriors can be sampled: two moons, a Gaussian mixture and SLCP.

Source: Lueckmann et al. 2021 (arXiv:2101.04653), appendix T, for all three laws.
"""

import abc

import numpy as np


class Simulator(abc.ABC):
    """A uniform prior on a cube, a likelihood, and the posterior of an observation.

    Attributes:
        parameters: number of parameters.
        limit: the prior is uniform on ``(−limit, limit)`` in each parameter.
    """

    parameters: int
    limit: float

    def prior(self, count, generator):
        """Returns ``[count, parameters]``."""
        return generator.uniform(-self.limit, self.limit, (count, self.parameters))

    @abc.abstractmethod
    def observe(self, theta, generator):
        """Returns an observation for each row of parameters."""

    @abc.abstractmethod
    def posterior(self, x, count, generator):
        """Returns ``[count, parameters]``, draws of the posterior of one observation."""

    def within(self, propose, count):
        """Returns the first ``count`` proposals inside the prior's cube."""
        kept = np.zeros((0, self.parameters))
        while len(kept) < count:
            theta = propose(4 * count)
            kept = np.concatenate([kept, theta[(np.abs(theta) < self.limit).all(1)]])
        return kept[:count]


class TwoMoons(Simulator):
    """``x = (r cos a + 1/4, r sin a) + (−|θ₁ + θ₂|, θ₂ − θ₁)/√2``.

    ``a`` is uniform on (−π/2, π/2) and ``r`` normal with mean 0.1 and standard deviation 0.01.
    """

    parameters, limit = 2, 1.0

    def observe(self, theta, generator):
        total, difference = theta.sum(1), theta[:, 1] - theta[:, 0]
        moved = np.stack([-np.abs(total), difference], 1) / np.sqrt(2.0)
        return self._crescent(len(theta), generator) + moved

    def posterior(self, x, count, generator):
        # θ is linear in the point of the crescent, up to the sign of the sum.
        def propose(number):
            moved = np.sqrt(2.0) * (x - self._crescent(number, generator))
            total = generator.choice([-1.0, 1.0], number) * moved[:, 0]
            theta = 0.5 * np.stack([total - moved[:, 1], total + moved[:, 1]], 1)
            return theta[moved[:, 0] <= 0.0]

        return self.within(propose, count)

    @staticmethod
    def _crescent(count, generator):
        angle = generator.uniform(-0.5 * np.pi, 0.5 * np.pi, count)
        radius = generator.normal(0.1, 0.01, count)
        return np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], 1)


class GaussianMixture(Simulator):
    """``x = θ + s ε`` with a standard normal ``ε`` and ``s`` of 1 or 0.1, equally likely."""

    parameters, limit = 2, 10.0

    def observe(self, theta, generator):
        return theta + self._noise(len(theta), generator)

    def posterior(self, x, count, generator):
        return self.within(lambda number: x - self._noise(number, generator), count)

    @staticmethod
    def _noise(count, generator):
        scale = generator.choice([1.0, 0.1], (count, 1))
        return scale * generator.normal(size=(count, 2))


class SLCP(Simulator):
    """Four points of a 2-D normal law: simple likelihood, complex posterior.

    ``θ₁`` and ``θ₂`` are its mean, ``θ₃²`` and ``θ₄²`` the standard deviations, and ``tanh θ₅`` the
    correlation, so the signs of ``θ₃`` and ``θ₄`` are not known.
    """

    parameters, limit = 5, 3.0

    def observe(self, theta, generator):
        first, second = generator.normal(size=(2, len(theta), 4))
        scales, correlation = np.square(theta[:, 2:4, None]), np.tanh(theta[:, 4:])
        second = correlation * first + np.sqrt(1.0 - correlation**2) * second
        points = theta[:, :2, None] + scales * np.stack([first, second], 1)
        return points.transpose(0, 2, 1).reshape(len(theta), 8)

    def log_likelihood(self, theta, x):
        """Returns the log-density of the eight numbers of an observation, ``[count]``."""
        scales, correlation = np.square(theta[:, 2:4]), np.tanh(theta[:, 4])
        first, second = ((x.reshape(4, 2) - theta[:, None, :2]) / scales[:, None]).transpose(
            2, 0, 1
        )
        rest = 1.0 - correlation**2
        crossed = first**2 - 2.0 * correlation[:, None] * first * second + second**2
        exponent = -0.5 * crossed.sum(1) / rest
        return exponent - 4.0 * (np.log(scales).sum(1) + 0.5 * np.log(rest) + np.log(2.0 * np.pi))

    def posterior(self, x, count, generator, particles=4000, moves=20):
        # Sequential Monte Carlo from the prior to the posterior, with positive θ₃ and θ₄.
        theta = self.prior(particles, generator)
        theta[:, 2:4] = np.abs(theta[:, 2:4])
        value, power = self.log_likelihood(theta, x), 0.0
        while power < 1.0:
            step = _step(value, 1.0 - power)
            weights = np.exp(step * (value - value.max()))
            chosen = generator.choice(particles, particles, p=weights / weights.sum())
            theta, value, power = theta[chosen], value[chosen], power + step
            factor = np.linalg.cholesky(np.cov(theta.T) + 1e-12 * np.eye(5))
            for move in range(moves):
                length = (1.0, 0.3)[move % 2] * 2.38 / np.sqrt(5.0)
                other = theta + length * generator.normal(size=theta.shape) @ factor.T
                inside = (np.abs(other) < self.limit).all(1) & (other[:, 2:4] > 0.0).all(1)
                new = np.full(particles, -np.inf)
                new[inside] = self.log_likelihood(other[inside], x)
                accepted = np.log(generator.uniform(size=particles)) < power * (new - value)
                theta[accepted], value[accepted] = other[accepted], new[accepted]
        theta = theta[generator.choice(particles, count, replace=False)]
        theta[:, 2:4] *= generator.choice([-1.0, 1.0], (count, 2))
        return theta


def _step(value, largest):
    """Returns the largest increase of the power that leaves half of the particles effective."""

    def effective(step):
        weights = np.exp(step * (value - value.max()))
        return weights.sum() ** 2 / np.square(weights).sum() / len(value)

    if effective(largest) >= 0.5:
        return largest
    low, high = 0.0, largest
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= 0.5 else (low, middle)
    return low


SIMULATORS = {"two-moons": TwoMoons(), "gaussian-mixture": GaussianMixture(), "slcp": SLCP()}
"""The simulators by name."""
