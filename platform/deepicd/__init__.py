"""DeepICD Platform: sweep, train, promote, serve and watch models that code notes in ICD-10-CM."""

__version__ = "0.1.0"
