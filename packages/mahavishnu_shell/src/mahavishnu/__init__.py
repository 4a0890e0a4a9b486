"""The Mahavishnu admin shell: IPython with your commands, tracked."""

__version__ = "0.1.0"
