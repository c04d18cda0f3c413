"""The trained network as it is deployed: batch norms folded, decoder included, training-only heads gone.

Start with deployed.py; decode.py holds the operators that export and plugins know. open_model.py opens any model file.
"""
