"""The whole path, from images to a denoised image, has the same bits whatever threads NumPy's BLAS and Numba have."""

import os
import subprocess
import sys

SCRIPT = """
import hashlib
import numpy as np, fastcl
from skimage import data
from fastcl.learning import adaptive

# The defaults take a minute; the sums are cut into parts all the same.
adaptive.EFFORT = adaptive.SearchEffort(
    chains=5000, scored=20_000, batch=5000, ascent_steps=3, fit_steps=5, refine_steps=10
)
sketched = fastcl.sketch_images([data.coins(), data.moon()], patch=5, m=300, rng=0, subsample=20_000)
model = fastcl.learn_patches(sketched, rng=0, n_iter=5, n_samples=15_000)
noisy = data.camera()[:50, :70] / 255 + 0.1 * np.random.default_rng(0).standard_normal((50, 70))
results = [model.transform.axes, sketched.reference.covariances, sketched.sketch.values, model.density.prior.c]
results += [model.prior.covariances, model.prior.weights]
results += [fastcl.denoise_image(model, noisy, 0.1, estimator=name) for name in ("mean", "map")]
print([hashlib.sha256(np.ascontiguousarray(result)).hexdigest() for result in results])
"""


def test_the_image_path_has_the_same_bits_on_one_thread_and_on_two():
    outputs = []
    for threads in ("1", "2"):
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
