"""The serving code of the models in model_repository/, kept once.

Every model's version folder holds a copy of the other files here, because a model folder has to
work when it is copied alone into any Triton's repository. Edit here, then copy:
``python -m tuner.model.serving_code model_repository``. See docs/decisions/0002.

The files import one another relatively, so that they work as ``tuner.model.serving`` and as the
version folder that Triton loads. All but ``model`` can be imported outside Triton's stub.
"""
