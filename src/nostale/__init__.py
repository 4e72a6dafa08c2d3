"""nostale: can any CPU or device act on a stale view of code, translations, kernel context or memory?"""

__version__ = "0.1.0"
