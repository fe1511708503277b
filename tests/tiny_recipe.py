"""A recipe whose training takes seconds, for tests of commands."""

RECIPE = """
epochs = 1
batch_size = 4
folds = 3
[model]
name = "unet"
options = {encoder = "test_resnet", decoder_channels = [8, 8, 8, 8, 8]}
"""
