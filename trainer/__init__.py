"""Images and boxes -> weights. torch.

network/ what is trained, data/ what it is trained on, loop/ how; deploy/ the network as it is exported and run;
import_weights/ reads other projects' weights. Start with loop/train.py.
"""
