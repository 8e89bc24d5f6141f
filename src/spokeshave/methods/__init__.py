"""How a network gets into its plan: hooks around anybody's training loop, and a ready loop."""

from spokeshave.methods.admm import ADMM
from spokeshave.methods.correlation import weight_correlation
from spokeshave.methods.distillation import Distillation, Teacher
from spokeshave.methods.during_training import DuringTraining
from spokeshave.methods.experts import ExpertDistillation
from spokeshave.methods.features import FeatureDistillation, Together
from spokeshave.methods.group_lasso import ReweightedGroupLasso
from spokeshave.methods.masked import MaskedFineTuning
from spokeshave.methods.one_shot import OneShot
from spokeshave.methods.polynomials import Polynomials, approximate
from spokeshave.methods.quantization_aware import QuantizationAware
from spokeshave.methods.randomized_binary import RandomizedBinary
from spokeshave.methods.reconstruction import Reconstruction
from spokeshave.methods.rewinding import IterativeMagnitude, find_masks, prune_and_train, train_under
from spokeshave.methods.schedule import Schedule, Steps
from spokeshave.methods.session import Session, begin
from spokeshave.methods.statistics import refresh_batch_norm
from spokeshave.methods.token_losses import TokenDistillation, TokenLatency, TokenRatio
from spokeshave.methods.training import EpochResult, train

__all__ = [
    "ADMM",
    "Distillation",
    "DuringTraining",
    "EpochResult",
    "ExpertDistillation",
    "FeatureDistillation",
    "IterativeMagnitude",
    "MaskedFineTuning",
    "OneShot",
    "Polynomials",
    "QuantizationAware",
    "RandomizedBinary",
    "Reconstruction",
    "ReweightedGroupLasso",
    "Schedule",
    "Session",
    "Steps",
    "Teacher",
    "Together",
    "TokenDistillation",
    "TokenLatency",
    "TokenRatio",
    "approximate",
    "begin",
    "find_masks",
    "prune_and_train",
    "refresh_batch_norm",
    "train",
    "train_under",
    "weight_correlation",
]
