"""CornerNet in torch: backbones, corner pooling, heads, the presets, and the weight file.

Start with corner_net.py (sections 3.1 to 3.5 of the paper); presets.py has the sizes, checkpoint.py the file.
"""
