"""Images to a denoised image, bitwise identical on any number of threads of Numba and of BLAS."""

import sys

import background
import pytest
from reruns import ENVIRONMENT

SCRIPT = """
import hashlib
import numpy as np, fastcl
from skimage import data

# The defaults take a minute; the sums are cut into parts all the same.
effort = fastcl.SearchEffort(
    chains=5000, scored=20_000, batch=5000, ascent_steps=3, fit_steps=5, refine_steps=10
)
few = {"subsample": 20_000, "effort": effort}
sketched = fastcl.sketch_images([data.coins(), data.moon()], patch=5, m=300, rng=0, **few)
model = fastcl.learn_patches(sketched, rng=0, n_iter=5, n_samples=15_000)
noisy = data.camera()[:50, :70] / 255 + 0.1 * np.random.default_rng(0).standard_normal((50, 70))
results = [model.transform.axes, sketched.reference.covariances, sketched.sketch.values]
results += [model.density.prior.c, model.prior.covariances, model.prior.weights]
results += [fastcl.denoise_image(model, noisy, 0.1, estimator=name) for name in ("mean", "map")]
print([hashlib.sha256(np.ascontiguousarray(result)).hexdigest() for result in results])
"""


def run_on_one_thread_and_on_two():
    return [
        background.run(
            [sys.executable, "-c", SCRIPT],
            env=ENVIRONMENT | {"NUMBA_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            timeout=600,
        )
        for threads in ("1", "2")
    ]


@pytest.mark.slow
@pytest.mark.background(job=run_on_one_thread_and_on_two)
def test_the_image_path_gives_the_same_bits_on_one_thread_and_on_two():
    one, two = background.result(run_on_one_thread_and_on_two)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert one.stdout == two.stdout
    assert len(one.stdout.split(",")) == 8
