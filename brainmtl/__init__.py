"Segment brain tumors in MRI and classify slices with one shared encoder."

__version__ = "0.1.0"

_HOME = {
    "Predictor": "inference.predict",
    "Store": "data.store",
    "MultiTaskModel": "models.model",
    "Recipe": "recipe",
    "load_recipe": "recipe",
    "load_checkpoint": "models.model",
}
__all__ = list(_HOME)


def __getattr__(name):
    "Import the main classes at their first use, so that `import brainmtl` stays instant."
    if name not in _HOME:
        raise AttributeError(f"module 'brainmtl' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"brainmtl.{_HOME[name]}"), name)
