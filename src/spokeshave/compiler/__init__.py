"""From an exported network to native code."""

from spokeshave.compiler.compile import compile_network, generate
from spokeshave.compiler.native import LayerTime, NativeDeployment, load_deployment

__all__ = ["LayerTime", "NativeDeployment", "compile_network", "generate", "load_deployment"]
