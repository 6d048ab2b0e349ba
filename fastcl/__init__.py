"""Compressive learning: sketch a data set once, learn a neural prior from the sketch, denoise with it."""

__version__ = "0.1.0"

from .fourier.structured import HadamardFrequencies, HarmonicFrequencies
from .fourier.seeded import SeededFrequencies
from .fourier.frequencies import draw_frequencies, estimate_scale
from .fourier.features import feature_adjoint, feature_sum
from .sketching.sketch import Sketch, sketch
from .sketching.privacy import release
from .measures.base import ReferenceMeasure
from .measures.box import Box
from .measures.mixtures import Gaussian, GaussianMixture
from .measures.scale_mixtures import GaussianScaleMixture, MixtureOfScaleMixtures
from .priors.base import Prior
from .priors.metric import WhitenedMetric
from .priors.chains import Chains, log_normaliser
from .priors.max_entropy import MaxEntropyPrior, max_entropy
from .learning.decoders import decode_kmeans, decode_mixture
from .learning.adaptive import adapt_frequencies
from .priors.mlp import MLPPrior
from .priors.gaussianised import GaussianisedPrior
from .learning.objective import grid_gradient, naive_gradient, unbiased_gradient
from .learning.optimizers import SGD, Adam, Constant, Cosine, Diminishing
from .learning.loop import LearnResult, learn
from .denoising.vectors import denoise
from .data.patches import PatchTransform
from .denoising.patch_sketch import PatchSketch, sketch_images
from .denoising.patch_model import ImageModel, learn_image_prior, learn_patches
from .denoising.restoration import denoise_image, estimate_noise
from .denoising.audio import band_noise, denoise_audio, learn_audio_prior, split_bands
from .storage import load, load_prior
