"""Whole networks in integers: what hardware without floating-point numbers computes, bit for bit."""

from spokeshave.compiler.integers.deployment import IntegerDeployment, load_integer_deployment
from spokeshave.compiler.integers.joint import JointSearch, joint_network
from spokeshave.compiler.integers.network import WholeNetwork, whole_network
from spokeshave.compiler.integers.settings import IntegerForm

__all__ = [
    "IntegerDeployment",
    "IntegerForm",
    "JointSearch",
    "WholeNetwork",
    "joint_network",
    "load_integer_deployment",
    "whole_network",
]
