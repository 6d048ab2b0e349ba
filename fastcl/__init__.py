"""Compressive learning: sketch a data set once, learn a neural prior from the sketch, denoise with it."""

__version__ = "0.1.0"

from .structures import HadamardFrequencies, HarmonicFrequencies
from .seeded import SeededFrequencies
from .frequencies import draw_frequencies, estimate_scale
from .features import feature_adjoint, feature_sum
from .sketch import Sketch, sketch
from .privacy import release
from .domains import Box
from .mixtures import Gaussian, GaussianMixture
from .scale_mixtures import GaussianScaleMixture, MixtureOfScaleMixtures
from .metric import WhitenedMetric
from .chains import Chains, log_mass
from .max_entropy import MaxEntropyPrior, max_entropy
from .decoders import decode_kmeans, decode_mixture
from .adaptive import adapt_frequencies
from .prior import MLPPrior
from .gaussianised import GaussianisedPrior
from .objective import grid_gradient, naive_gradient, unbiased_gradient
from .optimizers import SGD, Adam, Constant, Cosine, Diminishing
from .learn import LearnResult, learn
from .denoise import denoise
from .patches import PatchTransform
from .patch_sketch import PatchSketch, sketch_images
from .images import ImageModel, learn_image_prior, learn_patches
from .restoration import denoise_image, estimate_noise
from .audio import band_noise, denoise_audio, learn_audio_prior, split_bands
from .storage import load, load_prior
