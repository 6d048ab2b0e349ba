"""Compressive learning: sketch a data set, learn a prior from the sketch, denoise with it.

The names stand in the order of the pipeline. `fastcl.plots` and `fastcl.estimators`, which need
extras, are imported on their own.
"""

__version__ = "0.1.0"

# frequencies, and the two linear maps
from .fourier.frequencies import draw_frequencies, estimate_scale
from .fourier.seeded import SeededFrequencies
from .fourier.structured import HadamardFrequencies, HarmonicFrequencies
from .fourier.features import FeatureOperator, feature_adjoint, feature_sum

# where points are drawn
from .measures.base import ReferenceMeasure
from .measures.box import Box
from .measures.mixtures import Gaussian, GaussianMixture
from .measures.gaussian_scale_mixtures import GaussianScaleMixture
from .measures.scale_mixtures import MixtureOfScaleMixtures

# sketches
from .sketching.sketch import Sketch
from .sketching.data_set import sketch
from .sketching.privacy import release
from .sketching.distance import distance

# densities
from .priors.base import Prior
from .priors.mlp import MLPPrior
from .priors.max_entropy import MaxEntropyPrior, max_entropy
from .priors.metric import WhitenedMetric
from .priors.gaussianised import GaussianisedPrior
from .priors.chains import Chains, log_normaliser

# from a sketch to parameters
from .learning.gradients import grid_gradient, naive_gradient, unbiased_gradient
from .learning.optimizers import SGD, Adam, Constant, Cosine, Diminishing
from .learning.loop import LearnResult, learn
from .learning.adaptive import SearchEffort, adapt_frequencies
from .learning.decoders import decode_kmeans, decode_mixture

# vectors, photographs and sound
from .denoising.vectors import denoise
from .data.patch_transform import PatchTransform
from .denoising.patch_sketch import PatchSketch, sketch_images, sketch_signals
from .denoising.patch_model import (
    SignalModel,
    learn_image_prior,
    learn_patches,
    learn_signal_prior,
)
from .denoising.noise_level import estimate_noise
from .denoising.restoration import denoise_signal
from .denoising.photographs import denoise_image, ready_model
from .denoising.inverse import restore
from .denoising.audio import denoise_audio, learn_audio_prior, sketch_audio
from .denoising.spectral import estimate_audio_noise

# files
from .storage import load, load_prior

# threads
from .kernels.threads import get_num_threads, set_num_threads

__all__ = [
    "draw_frequencies",
    "estimate_scale",
    "SeededFrequencies",
    "HadamardFrequencies",
    "HarmonicFrequencies",
    "FeatureOperator",
    "feature_adjoint",
    "feature_sum",
    "ReferenceMeasure",
    "Box",
    "Gaussian",
    "GaussianMixture",
    "GaussianScaleMixture",
    "MixtureOfScaleMixtures",
    "Sketch",
    "sketch",
    "release",
    "distance",
    "Prior",
    "MLPPrior",
    "MaxEntropyPrior",
    "max_entropy",
    "WhitenedMetric",
    "GaussianisedPrior",
    "Chains",
    "log_normaliser",
    "grid_gradient",
    "naive_gradient",
    "unbiased_gradient",
    "SGD",
    "Adam",
    "Constant",
    "Cosine",
    "Diminishing",
    "LearnResult",
    "learn",
    "SearchEffort",
    "adapt_frequencies",
    "decode_kmeans",
    "decode_mixture",
    "denoise",
    "PatchTransform",
    "PatchSketch",
    "sketch_images",
    "sketch_signals",
    "SignalModel",
    "learn_image_prior",
    "learn_patches",
    "learn_signal_prior",
    "estimate_noise",
    "denoise_signal",
    "denoise_image",
    "ready_model",
    "restore",
    "sketch_audio",
    "learn_audio_prior",
    "denoise_audio",
    "estimate_audio_noise",
    "load",
    "load_prior",
    "get_num_threads",
    "set_num_threads",
]
