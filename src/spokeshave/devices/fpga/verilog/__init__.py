"""The engine in Verilog: generated, simulated bit for bit, and counted by a synthesis tool."""
